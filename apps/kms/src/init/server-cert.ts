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

/** A key and the certificate chain for it, both PEM, not yet written anywhere. */
export interface ServerCert {
  readonly keyPem: string;
  readonly certPem: string;
  readonly chainPem: string;
}

/**
 * Makes a key and a TLS server certificate of the root.
 * @throws {InputError} a name that cannot stand in a certificate
 */
export async function makeServerCert(
  ca: CertificateAuthority,
  request: Pick<ServerCertRequest, "commonName" | "altNames">,
): Promise<ServerCert> {
  const key = generateP256();
  const certPem = await ca.issue({
    publicKey: key.publicKey,
    commonName: request.commonName,
    altNames: request.altNames,
    usages: ["serverAuth"],
    notAfter: new Date(Math.min(Date.now() + LIFETIME_MS, ca.notAfter.getTime())),
  });
  return { keyPem: key.privateKeyPem, certPem, chainPem: [certPem, ...ca.chain].join("") };
}

/**
 * Writes key and certificate. Nothing is ever overwritten (K4), and the certificate is in the log before it is in its
 * file (K5).
 * @throws a system error with code `EEXIST` when one of the files exists
 */
export async function writeServerCert(
  certLog: CertLog,
  made: ServerCert,
  out: Pick<ServerCertRequest, "outCert" | "outKey">,
): Promise<void> {
  await createFileExclusive(out.outKey, made.keyPem, { mode: 0o600 });
  await certLog.append(entryOf(made.certPem, "server"));
  await createFileExclusive(out.outCert, made.chainPem, { mode: 0o644 });
}

/** `kms issue-server-cert`: a certificate of the root in `dir` for another daemon, such as tproxy. */
export async function issueServerCert(dir: string, request: ServerCertRequest): Promise<void> {
  const { ca } = await loadRootKeys(join(dir, FILES.rootCert), join(dir, FILES.rootKey));
  const made = await makeServerCert(ca, request);
  await using certLog = await CertLog.open(join(dir, FILES.log));
  await writeServerCert(certLog, made, request);
}
