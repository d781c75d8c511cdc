import type { ServerIdentity } from "@dstack/ra-rpc";
import { Challenges, listenRaRpc, requireAttested } from "@dstack/ra-rpc";
import { implement } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { KmsConfig } from "../config.js";
import type { KmsContext } from "../context.js";
import type { AdminContext } from "./admin-context.js";
import { OnboardTokens } from "../onboard/tokens.js";
import { getConsistencyProof } from "./get-consistency-proof.js";
import { getInclusionProof } from "./get-inclusion-proof.js";
import { getLogHead } from "./get-log-head.js";
import { getOnboardChallenge } from "./get-onboard-challenge.js";
import { onboard } from "./onboard.js";

/** A quote and an event log, and as JSON twice as much. */
const BODY_BYTES = 128 * 1024;
const { getChallenge, onboard: handOver } = kms.KMSAdmin.method;
const ATTESTED_METHODS: ReadonlySet<string> = new Set([getChallenge.name, handOver.name]);

/**
 * Serves `KMSAdmin` on a listener of its own.
 * @throws {InputError} others could make tokens
 */
export async function listenAdmin(
  config: NonNullable<KmsConfig["admin"]>,
  parts: { context: KmsContext; identity: ServerIdentity; clock: (() => number) | undefined },
): Promise<AsyncDisposable & { readonly url: string }> {
  const { verifier, log } = parts.context;
  const context: AdminContext = {
    ...parts.context,
    challenges: new Challenges({
      purpose: "kms-onboard",
      verifier,
      ...(parts.clock === undefined ? {} : { clock: parts.clock }),
    }),
    replicaComposeHashes: new Set(config.replica_compose_hashes),
    tokens: await OnboardTokens.open(config.onboard_token_dir),
  };
  const service = implement<typeof kms.KMSAdmin, VerifiedPeer>(
    kms.KMSAdmin,
    {
      getLogHead: getLogHead(context),
      getInclusionProof: getInclusionProof(context),
      getConsistencyProof: getConsistencyProof(context),
      getChallenge: getOnboardChallenge(context),
      onboard: onboard(context),
    },
    {
      guard: (method, call) => {
        if (ATTESTED_METHODS.has(method)) requireAttested(call);
      },
    },
  );
  const { host, port } = config;
  return listenRaRpc({
    host,
    port,
    ...parts.identity,
    verifier,
    services: [service],
    bodyLimit: BODY_BYTES,
    log,
  });
}
