import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";

/** A certificate as far as checking a signature of its key needs it. */
export interface RootCertificate {
  /** SHA-256 of its DER, 64 hex digits: what guests measure as `ca-cert-hash`. */
  readonly fingerprint: string;
  /** P-256 point, uncompressed, 65 bytes. */
  readonly publicKey: Uint8Array;
}

/** SubjectPublicKeyInfo of a P-256 key up to its point (RFC 5480). */
const P256_SPKI = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/** One DER element: where its content begins and where it ends. */
function element(der: Uint8Array, at: number): { start: number; end: number } {
  const first = der[at + 1] ?? 0;
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > 3) throw new Error("The KMS's certificate is not one.");
  let length = lengthBytes === 0 ? first : 0;
  for (let i = 0; i < lengthBytes; i++) length = length * 256 + (der[at + 2 + i] ?? 0);
  const start = at + 2 + lengthBytes;
  if (start + length > der.length) throw new Error("The KMS's certificate is not one.");
  return { start, end: start + length };
}

/**
 * Reads a root CA certificate. It is trusted by its fingerprint alone, so nothing else of it is checked.
 * @param pem the certificate; what follows the first one is ignored
 * @throws {Error} not a certificate of a P-256 key
 */
export function readRootCertificate(pem: string): RootCertificate {
  const base64 = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/.exec(pem)?.[1];
  if (base64 === undefined) throw new Error("teepod gave no certificate of its KMS.");
  const der = Uint8Array.from(atob(base64.replace(/\s/g, "")), (character) => character.charCodeAt(0));
  // Certificate ::= SEQUENCE { tbs SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, key … } … }
  let at = element(der, element(der, 0).start).start;
  for (let field = 0; field < 6; field++) at = element(der, at).end;
  const spki = der.slice(at, element(der, at).end);
  if (!bytesToHex(spki).startsWith(P256_SPKI))
    throw new Error("The KMS's root key is not of the kind it should be.");
  return { fingerprint: bytesToHex(sha256(der)), publicKey: spki.slice(P256_SPKI.length / 2) };
}

/** As `openssl x509 -fingerprint -sha256` prints it. */
export function formatFingerprint(fingerprint: string): string {
  return (fingerprint.toUpperCase().match(/../g) ?? []).join(":");
}
