import { InputError, errorMessage, hex, readRegularFile, sha256 } from "@dstack/core";
import { CertificateAuthority, deriveK256Root } from "@dstack/ra-tls";
import { readSecretFile } from "./secret-file.js";

/** A chain of certificates takes a few kilobytes. */
export const MAX_CERT_FILE_BYTES = 256 * 1024;

/** The root of this KMS: its CA, and what follows from its key. */
export interface RootKeys {
  readonly ca: CertificateAuthority;
  /** 64 hex digits, SHA-256 of the CA certificate's DER: what guests measure as `ca-cert-hash`. */
  readonly caCertHash: string;
  /** secp256k1 root key, 32 bytes. A secret. */
  readonly k256Root: Uint8Array;
}

/** The root keys around a CA. */
export function rootKeysOf(ca: CertificateAuthority): RootKeys {
  return { ca, caCertHash: hex(sha256(ca.certDer)), k256Root: deriveK256Root(ca.key) };
}

/**
 * Loads the root CA.
 * @throws SecretFileError when others could read the key file (K4)
 * @throws {InputError} the files do not hold a CA certificate and its key
 */
export async function loadRootKeys(certPath: string, keyPath: string): Promise<RootKeys> {
  const keyPem = await readSecretFile(keyPath);
  const certPem = Buffer.from(await readRegularFile(certPath, MAX_CERT_FILE_BYTES)).toString("utf8");
  try {
    return rootKeysOf(CertificateAuthority.load(certPem, keyPem));
  } catch (err) {
    if (!(err instanceof InputError)) throw err;
    throw new InputError(`root CA of ${certPath} and ${keyPath}: ${errorMessage(err)}`, { cause: err });
  }
}
