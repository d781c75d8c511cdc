import { InputError, concatBytes, sha256, sha512, utf8 } from "@dstack/core";

/**
 * The report data that binds a quote to the key of an RA-TLS certificate: SHA-512("ratls-cert:" ‖ SPKI), 64 bytes.
 * @param spkiDer the SubjectPublicKeyInfo as it stands in the certificate, never re-encoded
 */
export function raTlsReportData(spkiDer: Uint8Array): Uint8Array {
  return sha512("ratls-cert:", spkiDer);
}

/**
 * The report data that says of a key, "it is one of this guest's certificate keys": SHA-512("zt-cert:" ‖ SPKI), 64 bytes.
 * Unlike {@link raTlsReportData} it authenticates no connection; certificate transparency monitors ask for it.
 * @param spkiDer the SubjectPublicKeyInfo as it stands in the certificate, never re-encoded
 */
export function certificateKeyReportData(spkiDer: Uint8Array): Uint8Array {
  return sha512("zt-cert:", spkiDer);
}

/** What fresh evidence is asked for. Each purpose is a tag of its own, and no tag begins with another one. */
export type FreshPurpose = "kms-challenge" | "kms-onboard" | "tproxy-register";

/** What a fresh quote speaks about. */
export interface FreshBinding {
  /** From the verifier, used once. */
  readonly challenge: Uint8Array;
  /** The TLS exporter of the connection that the evidence is sent over. */
  readonly exporter: Uint8Array;
  /** DER SubjectPublicKeyInfo of the client's certificate. TLS 1.3 leaves the client's certificate out of the exporter. */
  readonly spki: Uint8Array;
}

/** Shorter values could be guessed, or met again. */
const MIN_SECRET_BYTES = 32;

/**
 * The report data of evidence that is fresh and for one TLS connection only:
 * SHA-512(purpose ‖ ":" ‖ challenge ‖ exporter ‖ SPKI), each of the three after its length (4 bytes, big-endian).
 * @throws {InputError} challenge or exporter of less than 32 bytes
 */
export function freshReportData(purpose: FreshPurpose, binding: FreshBinding): Uint8Array {
  const { challenge, exporter, spki } = binding;
  if (challenge.length < MIN_SECRET_BYTES || exporter.length < MIN_SECRET_BYTES) {
    throw new InputError(`challenge and TLS exporter must have at least ${MIN_SECRET_BYTES} bytes`);
  }
  return sha512(utf8(`${purpose}:`), ...[challenge, exporter, spki].flatMap(withLength));
}

/**
 * The report data of a custom domain's `quote.json`: SHA-256 of `sha256sum.txt`, then 32 zero bytes.
 * @param sums the bytes of `sha256sum.txt`
 */
export function domainReportData(sums: Uint8Array): Uint8Array {
  return concatBytes(sha256(sums), new Uint8Array(32));
}

/**
 * The report data of a custom domain's answer to a nonce: SHA-512("domain-evidence:" ‖ SHA-256 of `sha256sum.txt` ‖
 * nonce), both after their lengths (4 bytes, big-endian). The tag keeps it apart from quotes that an app gives over
 * whatever it is asked, which are under "app-data:".
 */
export function freshDomainReportData(sums: Uint8Array, nonce: Uint8Array): Uint8Array {
  return sha512(utf8("domain-evidence:"), ...[sha256(sums), nonce].flatMap(withLength));
}

function withLength(bytes: Uint8Array): [Uint8Array, Uint8Array] {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, bytes.length);
  return [length, bytes];
}
