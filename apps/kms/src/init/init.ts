import { lstat, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { InputError, createFileExclusive, errorCode } from "@dstack/core";
import { CertificateAuthority } from "@dstack/ra-tls";
import { CertLog } from "../cert-log/cert-log.js";
import { entryOf } from "../cert-log/entry-of.js";
import { FILES, LIFETIME_MS, makeServerCert, writeServerCert } from "./server-cert.js";

/**
 * `kms init`: makes the root CA and the KMS's server certificate in a directory. Never overwrites anything: a lost
 * root key is every key of every app (K4).
 * @throws {InputError} one of the files is already there
 */
export async function initKms(
  dir: string,
  options: { commonName: string; altNames: readonly string[] },
): Promise<void> {
  const ca = await CertificateAuthority.create({
    commonName: options.commonName,
    notAfter: new Date(Date.now() + LIFETIME_MS),
  });
  await installRoot(dir, ca, options.altNames);
}

/**
 * Makes a directory for an installation, where there is none.
 * @throws {InputError} it holds one already
 */
export async function requireEmpty(dir: string): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  for (const name of Object.values(FILES)) {
    if (await exists(join(dir, name))) {
      throw new InputError(`${join(dir, name)} is already there; kms never overwrites, use another --dir`);
    }
  }
}

/**
 * Writes a root CA, and a server certificate of it, into a directory that holds neither.
 * @throws {InputError} one of the files is already there
 */
export async function installRoot(
  dir: string,
  ca: CertificateAuthority,
  altNames: readonly string[],
): Promise<void> {
  await requireEmpty(dir);
  // Everything is made before anything is written: a name that is refused leaves nothing behind.
  const server = await makeServerCert(ca, { commonName: "dstack KMS", altNames });
  const rootKeyPem = ca.key.export({ type: "pkcs8", format: "pem" });
  await createFileExclusive(join(dir, FILES.rootKey), rootKeyPem, { mode: 0o600 });
  await using certLog = await CertLog.open(join(dir, FILES.log));
  await certLog.append(entryOf(ca.certPem, "root-ca"));
  await writeServerCert(certLog, server, {
    outCert: join(dir, FILES.serverCert),
    outKey: join(dir, FILES.serverKey),
  });
  // Last: who finds the root certificate finds everything else.
  await createFileExclusive(join(dir, FILES.rootCert), ca.certPem, { mode: 0o644 });
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (err) {
    if (errorCode(err) === "ENOENT") return false;
    throw err;
  }
}
