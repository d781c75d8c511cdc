import { join } from "node:path";
import { InputError, errorMessage, readRegularFile } from "@dstack/core";
import { ResourceStack, addHealthAndMetrics, createLogger, createRegistry } from "@dstack/daemon";
import type { Logger } from "@dstack/daemon";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { Challenges, createDaemonVerifier, listenRaRpc, requireAttested } from "@dstack/ra-rpc";
import { loadP256 } from "@dstack/ra-tls";
import type { PeerVerifier, VerifiedPeer } from "@dstack/ra-tls";
import { listenAdmin } from "./admin/listen-admin.js";
import { CertLog } from "./cert-log/cert-log.js";
import type { KmsConfig } from "./config.js";
import type { KmsContext } from "./context.js";
import { MAX_CERT_FILE_BYTES, loadRootKeys } from "./keys/root-keys.js";
import { readSecretFile } from "./keys/secret-file.js";
import { registerMetrics } from "./metrics.js";
import { UpgradeRegistry } from "./policy/upgrade-registry.js";
import { getAppEnvEncryptPubKey } from "./rpc/get-app-env-encrypt-pub-key.js";
import { getAppKey } from "./rpc/get-app-key.js";
import { getChallenge } from "./rpc/get-challenge.js";
import { getMeta } from "./rpc/get-meta.js";

/** Name of the log of app certificates inside `cert_log_dir`. */
export const ISSUE_LOG = "issued.log";

/** What a test replaces. */
export interface KmsParts {
  readonly log: Logger;
  readonly verifier: PeerVerifier;
  /** The clock challenges expire by, milliseconds. */
  readonly monotonicClock: () => number;
}

/** A running KMS. */
export interface Kms extends AsyncDisposable {
  readonly port: number;
  readonly grpcPort: number | undefined;
  /** `https://host:port` */
  readonly url: string;
  /** Of the admin listener, where there is one. */
  readonly adminUrl: string | undefined;
}

/** The largest request that carries no quote is an app id. */
const SMALL_BODY_BYTES = 4096;
/** Quote and event log as an RA-TLS certificate carries them, at most 64 KiB, of which JSON makes twice as much. */
const EVIDENCE_BODY_BYTES = 128 * 1024;

const ATTESTED_METHODS = new Set([kms.KMS.method.getAppKey.name, kms.KMS.method.getChallenge.name]);

/** Only key release wants to know who calls. It is refused before the request's body is read (K1). */
export function kmsService(context: KmsContext): ServiceImpl<VerifiedPeer> {
  return implement<typeof kms.KMS, VerifiedPeer>(
    kms.KMS,
    {
      getAppKey: getAppKey(context),
      getChallenge: getChallenge(context),
      getAppEnvEncryptPubKey: getAppEnvEncryptPubKey(context),
      getMeta: getMeta(context),
    },
    {
      guard: (method, call) => {
        if (ATTESTED_METHODS.has(method)) requireAttested(call);
      },
      bodyLimits: {
        ...Object.fromEntries(kms.KMS.methods.map(({ name }) => [name, SMALL_BODY_BYTES])),
        [kms.KMS.method.getAppKey.name]: EVIDENCE_BODY_BYTES,
      },
    },
  );
}

/**
 * Starts a KMS.
 * @throws SecretFileError a key file that others could read (K4)
 * @throws ChainedLogError the issue log's chain is broken (K5)
 * @throws PolicyError an allow-list that allows nothing (E9)
 * @throws {InputError} files or configuration that cannot be used
 */
export async function startKms(config: KmsConfig, parts: Partial<KmsParts> = {}): Promise<Kms> {
  const { core } = config;
  const log = parts.log ?? createLogger({ name: "kms", level: config.log_level });
  await using stack = new ResourceStack();
  const root = await loadRootKeys(core.root_ca_cert, core.root_ca_key);
  const identity = await loadServerIdentity(config.tls);
  const stopping = new AbortController();
  stack.defer(() => stopping.abort());
  const registry = createRegistry();
  const verifier =
    parts.verifier ??
    (await createDaemonVerifier(config.attestation, { log, registry, signal: stopping.signal }));
  const upgrades = await UpgradeRegistry.open(core.upgrade_registry_dir);
  const certLog = stack.use(
    await CertLog.open(join(core.cert_log_dir, ISSUE_LOG), {
      onTorn: (cut) => log.error(cut, "ISSUE LOG: the last entry was torn by a crash and was cut off"),
    }),
  );
  const insecure = {
    simulatedRoots: verifier.simulatedRoots.length,
    allowAllMeasurements: verifier.policy.images.allow_all,
    allowAnyUpgrade: core.allow_any_upgrade,
  };
  warnAboutPolicy(log, insecure, verifier);
  const context: KmsContext = {
    root,
    release: {
      caCertHash: root.caCertHash,
      allowAnyUpgrade: core.allow_any_upgrade,
      requireFreshEvidence: core.require_fresh_evidence,
      upgrades,
    },
    verifier,
    challenges: new Challenges({
      purpose: "kms-challenge",
      verifier,
      ...(parts.monotonicClock === undefined ? {} : { clock: parts.monotonicClock }),
    }),
    certLog,
    diskKeyMode: core.disk_key_mode,
    subjectPostfix: core.subject_postfix,
    metrics: registerMetrics(registry, insecure),
    log,
  };
  const listener = stack.use(
    await listenRaRpc({
      host: config.host,
      port: config.port,
      ...(config.grpc_port === undefined ? {} : { grpcPort: config.grpc_port }),
      ...identity,
      verifier,
      services: [kmsService(context)],
      mount: (app) => addHealthAndMetrics(app, { registry, health: () => certLog.assertUsable() }),
      log,
    }),
  );
  const admin =
    config.admin === undefined
      ? undefined
      : stack.use(await listenAdmin(config.admin, { context, identity, clock: parts.monotonicClock }));
  log.info(
    {
      url: listener.url,
      adminUrl: admin?.url,
      caCertHash: root.caCertHash,
      issued: certLog.head.seq + 1,
      logHead: certLog.head.hash,
    },
    "kms is serving",
  );
  const resources = stack.move();
  return {
    port: listener.port,
    grpcPort: listener.grpcPort,
    url: listener.url,
    adminUrl: admin?.url,
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}

async function loadServerIdentity(tls: KmsConfig["tls"]): Promise<{ key: string; certChain: string }> {
  const key = await readSecretFile(tls.key);
  const certChain = Buffer.from(await readRegularFile(tls.certs, MAX_CERT_FILE_BYTES)).toString("utf8");
  try {
    loadP256(key);
  } catch (err) {
    throw new InputError(`[tls] key ${tls.key}: ${errorMessage(err)}`, { cause: err });
  }
  return { key, certChain };
}

function warnAboutPolicy(
  log: Logger,
  insecure: { allowAllMeasurements: boolean; allowAnyUpgrade: boolean },
  { simulatedRoots }: PeerVerifier,
): void {
  if (simulatedRoots.length > 0) {
    log.warn(
      { insecure_simulated_roots: simulatedRoots },
      "INSECURE: simulated platforms are trusted; whoever has their seed gets every key",
    );
  }
  if (insecure.allowAllMeasurements) log.warn("INSECURE: allow_all = true, any image gets keys");
  if (insecure.allowAnyUpgrade)
    log.warn("INSECURE: allow_any_upgrade = true, any compose file gets any app's keys");
}
