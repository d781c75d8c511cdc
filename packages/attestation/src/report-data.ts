import { sha512 } from "@dstack/core";

/**
 * The report data that binds a quote to the key of an RA-TLS certificate: SHA-512("ratls-cert:" ‖ SPKI), 64 bytes.
 * @param spkiDer the SubjectPublicKeyInfo as it stands in the certificate, never re-encoded
 */
export function raTlsReportData(spkiDer: Uint8Array): Uint8Array {
  return sha512("ratls-cert:", spkiDer);
}
