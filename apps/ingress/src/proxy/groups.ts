import { createSecureContext } from "node:tls";

/** Post-quantum hybrid first, then what every client has (RFC 9794 terms; draft-ietf-tls-ecdhe-mlkem). */
const PREFERRED = ["X25519MLKEM768", "SecP256r1MLKEM768", "X25519", "P-256", "P-384"];

/** Key exchange groups for TLS in order of preference, as far as this process's OpenSSL has them. */
export function keyExchangeGroups(): string {
  return PREFERRED.filter((group) => {
    try {
      createSecureContext({ ecdhCurve: group });
      return true;
    } catch {
      return false;
    }
  }).join(":");
}
