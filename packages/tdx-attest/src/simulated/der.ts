/** A DER writer (X.690): only what certificates and revocation lists of the simulated platform need. */
import { concatBytes, utf8 } from "@dstack/core";

/** One element: tag, minimal length, content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Uint8Array {
  const body = concatBytes(...content);
  const length: number[] = [];
  if (body.length < 0x80) {
    length.push(body.length);
  } else {
    for (let rest = body.length; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest % 256);
    length.unshift(0x80 | length.length);
  }
  return concatBytes(Uint8Array.of(tag, ...length), body);
}

export const sequence = (...items: readonly Uint8Array[]): Uint8Array => der(0x30, ...items);
export const set = (...items: readonly Uint8Array[]): Uint8Array => der(0x31, ...items);
export const octetString = (bytes: Uint8Array): Uint8Array => der(0x04, bytes);
export const bitString = (bytes: Uint8Array, unusedBits = 0): Uint8Array =>
  der(0x03, Uint8Array.of(unusedBits), bytes);
export const boolean = (value: boolean): Uint8Array => der(0x01, Uint8Array.of(value ? 0xff : 0));
export const enumerated = (value: number): Uint8Array => der(0x0a, Uint8Array.of(value));
export const utf8String = (text: string): Uint8Array => der(0x0c, utf8(text));
export const printableString = (text: string): Uint8Array => der(0x13, utf8(text));
/** `[n]`, constructed. */
export const explicit = (n: number, ...items: readonly Uint8Array[]): Uint8Array => der(0xa0 | n, ...items);

/** A non-negative INTEGER from a number or from big-endian bytes, minimal, with a sign byte where it needs one. */
export function integer(value: number | Uint8Array): Uint8Array {
  let bytes: Uint8Array;
  if (typeof value === "number") {
    const digits: number[] = [];
    for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
    bytes = Uint8Array.from(digits);
  } else {
    bytes = value;
  }
  let start = 0;
  while (start < bytes.length && bytes[start] === 0) start++;
  bytes = bytes.subarray(start);
  const needsZero = bytes.length === 0 || (bytes[0] ?? 0) >= 0x80;
  return der(0x02, needsZero ? Uint8Array.of(0) : new Uint8Array(), bytes);
}

/** An OBJECT IDENTIFIER from its dotted text. */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift(0x80 | (left % 128));
    }
    bytes.push(...groups);
  }
  return der(0x06, Uint8Array.from(bytes));
}

/** UTCTime until 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5); whole seconds. */
export function time(at: Date): Uint8Array {
  const digits = at.toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return at.getUTCFullYear() < 2050 ? der(0x17, utf8(`${digits.slice(2)}Z`)) : der(0x18, utf8(`${digits}Z`));
}
