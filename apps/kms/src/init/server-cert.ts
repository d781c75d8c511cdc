import { join } from "node:path";
import { createFileExclusive } from "@dstack/core";
import { generateP256 } from "@dstack/ra-tls";
import type { CertificateAuthority } from "@dstack/ra-tls";
import { CertLog } from "../cert-log/cert-log.js";
import { entryOf } from "../cert-log/entry-of.js";
import { loadRootKeys } from "../keys/root-keys.js";

/** Files that `kms init` makes in its directory. */
export const FILES = {
  rootCert: "root-ca.pem",
  rootKey: "root-ca.key",
  serverCert: "server.pem",
  serverKey: "server.key",
  /** Certificates the root signed from the command line; what the daemon issues is in `cert_log_dir`. */
  log: "server-certs.log",
} as const;

/** Root and server certificates made here live ten years: guests pin the root by its hash. */
export const LIFETIME_MS = 3650 * 86_400_000;

/** Names every guest and every local program uses for this host. */
export const DEFAULT_ALT_NAMES = ["localhost", "127.0.0.1", "10.0.2.2"];

export interface ServerCertRequest {
  readonly outCert: string;
  readonly outKey: string;
  readonly commonName: string;
  readonly altNames: readonly string[];
}

/**
 * Makes a key and a TLS server certificate of the root, and writes both. Nothing is ever overwritten (K4), and the
 * certificate is in the log before it is in its file (K5).
 * @throws a system error with code `EEXIST` when one of the files exists
 */
export async function makeServerCert(
  ca: CertificateAuthority,
  certLog: CertLog,
  request: ServerCertRequest,
): Promise<void> {
  const key = generateP256();
  const certificate = await ca.issue({
    publicKey: key.publicKey,
    commonName: request.commonName,
    altNames: request.altNames,
    usages: ["serverAuth"],
    notAfter: new Date(Math.min(Date.now() + LIFETIME_MS, ca.notAfter.getTime())),
  });
  await createFileExclusive(request.outKey, key.privateKeyPem, { mode: 0o600 });
  await certLog.append(entryOf(certificate, "server"));
  await createFileExclusive(request.outCert, [certificate, ...ca.chain].join(""), { mode: 0o644 });
}

/** `kms issue-server-cert`: a certificate of the root in `dir` for another daemon, such as tproxy. */
export async function issueServerCert(dir: string, request: ServerCertRequest): Promise<void> {
  const { ca } = await loadRootKeys(join(dir, FILES.rootCert), join(dir, FILES.rootKey));
  await using certLog = await CertLog.open(join(dir, FILES.log));
  await makeServerCert(ca, certLog, request);
}
