import { X509Certificate } from "node:crypto";
import type { AppId } from "@dstack/core";
import { kms } from "@dstack/proto";
import { RpcError, createClient } from "@dstack/prpc";
import type { Client } from "@dstack/prpc";
import type { RaTlsSession } from "@dstack/ra-rpc";
import type { RuntimeEventLog } from "@dstack/tdx-attest";
import { checkAppKeys } from "../app-keys.js";
import type { AppKeys } from "../app-keys.js";
import { attestedCall } from "../attested-call.js";
import type { AttestedPeer } from "../attested-call.js";
import { keyProviderEvent } from "../identity.js";

/** A KMS that is older than we are has no challenges, and decides by our certificate alone. */
async function challengeOf(
  client: Client<typeof kms.KMS>,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  try {
    return (await client.getChallenge({}, { signal })).challenge;
  } catch (err) {
    if (err instanceof RpcError && err.code === "not_found") return undefined;
    throw err;
  }
}

/** Asks for the keys with a quote over the KMS's challenge and over the connection we ask on. */
async function getAppKey(
  session: RaTlsSession,
  events: RuntimeEventLog,
  signal: AbortSignal,
): Promise<kms.AppKeyResponse> {
  const client = createClient(kms.KMS, session);
  const challenge = await challengeOf(client, signal);
  if (challenge === undefined) return client.getAppKey({}, { signal });
  const evidence = await events.quote(session.freshReportData("kms-challenge", challenge), signal);
  try {
    return await client.getAppKey({ freshEvidence: { challenge, ...evidence } }, { signal });
  } catch (err) {
    // The quote took too long, or the connection did not last: all of it is tried again.
    if (!(err instanceof RpcError) || err.code !== "conflict") throw err;
    throw new RpcError("unavailable", err.message, { cause: err });
  }
}

/**
 * Gets this app's keys from the KMS, checks them against its measured CA, and measures whose keys they are.
 * @throws {RpcError} the KMS refused
 * @throws {AppKeysError} the answer does not belong together
 */
export async function fetchAppKeys(
  peer: AttestedPeer & { readonly events: RuntimeEventLog; readonly appId: AppId },
  signal: AbortSignal,
): Promise<AppKeys> {
  const answer = await attestedCall(
    peer,
    { step: "kms", service: "KMS", urlKey: "kms_url" },
    (transport) => transport.withSession((session) => getAppKey(session, peer.events, signal)),
    signal,
  );
  const keys = checkAppKeys(answer, peer.caPem, peer.appId, Date.now());
  const rootSpki = new X509Certificate(peer.caPem).publicKey.export({ type: "spki", format: "der" });
  const { name, payload } = keyProviderEvent(rootSpki);
  await peer.events.extend(name, payload);
  return keys;
}
