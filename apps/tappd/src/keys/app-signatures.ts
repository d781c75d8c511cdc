import { ed25519 } from "@noble/curves/ed25519.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { InputError } from "@dstack/core";

/**
 * `secp256k1` is ECDSA over SHA-256, low-s, 64 bytes r ‖ s; `secp256k1_prehashed` takes the 32-byte digest instead of
 * the data; `ed25519` is RFC 8032. As the published SDKs and verifiers have them.
 */
export type SignatureAlgorithm = "ed25519" | "secp256k1" | "secp256k1_prehashed";

/** @throws {InputError} another algorithm */
export function parseSignatureAlgorithm(text: string): SignatureAlgorithm {
  if (text === "k256") return "secp256k1";
  if (text === "ed25519" || text === "secp256k1" || text === "secp256k1_prehashed") return text;
  throw new InputError("algorithm must be ed25519, secp256k1 or secp256k1_prehashed");
}

/**
 * @param key 32 bytes; a secret
 * @throws {InputError} data that is no digest, with `secp256k1_prehashed`
 */
export function signWith(algorithm: SignatureAlgorithm, key: Uint8Array, data: Uint8Array): Uint8Array {
  if (algorithm === "ed25519") return ed25519.sign(data, key);
  return secp256k1.sign(data, key, { prehash: hashes(algorithm, data), lowS: true });
}

/**
 * False for a signature that does not fit.
 * @throws {InputError} a public key or signature that cannot be one, or data that is no digest
 */
export function verifyWith(
  algorithm: SignatureAlgorithm,
  publicKey: Uint8Array,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (signature.length !== 64) throw new InputError(`signature must be 64 bytes, got ${signature.length}`);
  const curve = algorithm === "ed25519" ? ed25519 : secp256k1;
  if (!curve.utils.isValidPublicKey(publicKey))
    throw new InputError(`public_key is not a key for ${algorithm}`);
  // Strict: ZIP 215, the library's default, takes keys of small order, with which one signature fits every message.
  if (algorithm === "ed25519") return ed25519.verify(signature, data, publicKey, { zip215: false });
  return secp256k1.verify(signature, data, publicKey, { prehash: hashes(algorithm, data), lowS: true });
}

function hashes(algorithm: "secp256k1" | "secp256k1_prehashed", data: Uint8Array): boolean {
  if (algorithm === "secp256k1") return true;
  if (data.length !== 32) throw new InputError(`data must be a digest of 32 bytes, got ${data.length}`);
  return false;
}
