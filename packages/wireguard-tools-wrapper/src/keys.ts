import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { InputError } from "@dstack/core";

/** A Curve25519 public key as WireGuard writes it: 44 characters of base64, 32 bytes. */
export type WireGuardPublicKey = string & { readonly __brand: "WireGuardPublicKey" };
/** A Curve25519 private key as WireGuard writes it: 44 characters of base64, 32 bytes. Never log it. */
export type WireGuardPrivateKey = string & { readonly __brand: "WireGuardPrivateKey" };

export interface WireGuardKeyPair {
  readonly privateKey: WireGuardPrivateKey;
  readonly publicKey: WireGuardPublicKey;
}

/** DER of an X25519 private key up to its 32 bytes (RFC 8410 §7). */
const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");
/** DER of an X25519 public key up to its 32 bytes (RFC 8410 §4). */
const SPKI_X25519 = Buffer.from("302a300506032b656e032100", "hex");

/** 32 bytes in canonical base64: 43 characters, the last of which carries only four bits, and one `=`. */
const KEY_TEXT = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

function keyBytes(text: string, what: string): Buffer {
  if (!KEY_TEXT.test(text)) throw new InputError(`${what} must be 32 bytes in 44 characters of base64`);
  return Buffer.from(text, "base64");
}

/** A new key pair from the system's random source. */
export function generateKeyPair(): WireGuardKeyPair {
  const { privateKey } = generateKeyPairSync("x25519");
  const secret = privateKey.export({ format: "der", type: "pkcs8" }).subarray(PKCS8_X25519.length);
  const text = Buffer.from(secret).toString("base64") as WireGuardPrivateKey;
  return { privateKey: text, publicKey: publicKeyOf(text) };
}

/**
 * Reads a public key from outside.
 * @throws {InputError} unless it is exactly 44 characters of canonical base64 for 32 bytes, or when it is a point
 * of small order, with which every secret agrees to the same value (RFC 7748 §6.1)
 */
export function parsePublicKey(text: string): WireGuardPublicKey {
  const bytes = keyBytes(text, "WireGuard public key");
  if (isSmallOrder(bytes)) throw new InputError("WireGuard public key is a point of small order");
  return text as WireGuardPublicKey;
}

/** @throws {InputError} unless it is exactly 44 characters of canonical base64 for 32 bytes */
export function parsePrivateKey(text: string): WireGuardPrivateKey {
  keyBytes(text, "WireGuard private key");
  return text as WireGuardPrivateKey;
}

/** The public key that belongs to a private key. */
export function publicKeyOf(privateKey: WireGuardPrivateKey): WireGuardPublicKey {
  const der = Buffer.concat([PKCS8_X25519, keyBytes(privateKey, "WireGuard private key")]);
  const key = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
  const spki = key.export({ format: "der", type: "spki" });
  return spki.subarray(SPKI_X25519.length).toString("base64") as WireGuardPublicKey;
}

/**
 * The points of Curve25519 and its twist whose order divides 8, in every encoding below 2^255 (RFC 7748 §6.1 refuses
 * what comes of them). A table, because trying each key of thousands of peers takes seconds.
 */
const SMALL_ORDER = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

function isSmallOrder(point: Buffer): boolean {
  const masked = Buffer.from(point);
  // X25519 ignores the highest bit (RFC 7748 §5).
  masked[31] = (masked[31] ?? 0) & 0x7f;
  return SMALL_ORDER.has(masked.toString("hex"));
}
