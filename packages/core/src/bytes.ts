import { createHash, timingSafeEqual } from "node:crypto";
import { InputError } from "./errors.js";

/** Lower-case hex without prefix. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/**
 * Reads hex text, upper or lower case, with or without `0x`.
 * @param what names the value in the error
 * @param length the number of bytes it must have, if fixed
 * @throws {InputError} odd length, a character that is not hex, or the wrong number of bytes
 */
export function fromHex(text: string, what = "value", length?: number): Uint8Array {
  const digits = text.startsWith("0x") || text.startsWith("0X") ? text.slice(2) : text;
  if (digits.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(digits)) {
    throw new InputError(`${what} must be hex with an even number of digits`);
  }
  if (length !== undefined && digits.length !== 2 * length) {
    throw new InputError(`${what} must be ${length} bytes of hex, got ${digits.length / 2}`);
  }
  return new Uint8Array(Buffer.from(digits, "hex"));
}

/** UTF-8 bytes of a text. */
export function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** One array holding all parts in order. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Compares in constant time for equal lengths; different lengths are unequal. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function digest(algorithm: string, parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

/** SHA-256 over the parts in order; text counts as UTF-8. 32 bytes. */
export const sha256 = (...parts: (Uint8Array | string)[]): Uint8Array => digest("sha256", parts);

/** SHA-384 over the parts in order; text counts as UTF-8. 48 bytes. */
export const sha384 = (...parts: (Uint8Array | string)[]): Uint8Array => digest("sha384", parts);

/** SHA-512 over the parts in order; text counts as UTF-8. 64 bytes. */
export const sha512 = (...parts: (Uint8Array | string)[]): Uint8Array => digest("sha512", parts);
