import { createPublicKey, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { hex } from "@dstack/core";

/** SubjectPublicKeyInfo of P-256 up to the point: ecPublicKey, prime256v1, an uncompressed point of 65 bytes. */
const SPKI_PREFIX = "3059301306072a8648ce3d020106082a8648ce3d03010703420004";

/**
 * A P-256 key from its SubjectPublicKeyInfo, in the one form we accept.
 * @returns undefined when it has another form or is no point of the curve
 */
export function p256FromSpki(spki: Uint8Array): KeyObject | undefined {
  if (!hex(spki).startsWith(SPKI_PREFIX)) return undefined;
  return p256FromPoint(spki.subarray(SPKI_PREFIX.length / 2));
}

/** A P-256 key from x ‖ y (64 bytes); undefined when that is no point of the curve. */
export function p256FromPoint(xy: Uint8Array): KeyObject | undefined {
  if (xy.length !== 64) return undefined;
  const coordinate = (from: number): string =>
    Buffer.from(xy.buffer, xy.byteOffset + from, 32).toString("base64url");
  try {
    // As a JWK: OpenSSL takes twice as long to decode a DER key. Both ways it checks that the point lies on the curve.
    const key = { kty: "EC", crv: "P-256", x: coordinate(0), y: coordinate(32) };
    return createPublicKey({ key, format: "jwk" });
  } catch {
    // No point of the curve.
  }
  return undefined;
}

/** Whether r ‖ s is the key's ECDSA signature over SHA-256 of the data. */
export function verifyRaw(key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === 64 && verify("sha256", data, { key, dsaEncoding: "ieee-p1363" }, signature);
}

/** As {@link verifyRaw}, the signature in DER as certificates have it. OpenSSL takes no other than the shortest DER. */
export function verifyDer(key: KeyObject, data: Uint8Array, signature: Uint8Array): boolean {
  return verify("sha256", data, key, signature);
}
