import { hex } from "@dstack/core";
import { QuoteError } from "./errors.js";

/** The DER tags that certificates and revocation lists of SGX use. */
export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  explicit0: 0xa0,
  explicit3: 0xa3,
} as const;
type TagName = keyof typeof Tag;

/**
 * Reads the elements of one DER structure in order (X.690 §10: definite, shortest lengths). There is no recursion:
 * whoever reads opens each nested structure by name, so depth is bounded by the code that reads.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #offset = 0;

  /** @param what names the structure in errors */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get done(): boolean {
    return this.#offset === this.#bytes.length;
  }

  /** @throws {QuoteError} `certificate_malformed`, unless everything was read */
  expectEnd(): void {
    if (!this.done) throw this.error("bytes follow its last element");
  }

  /** Whether the next element has this tag. */
  at(tag: TagName): boolean {
    return this.#bytes[this.#offset] === Tag[tag];
  }

  /** The content of the next element, which must have this tag. */
  content(tag: TagName): Uint8Array {
    return this.#next(tag).content;
  }

  /** The next element with its header. */
  element(tag: TagName): Uint8Array {
    return this.#next(tag).element;
  }

  /** A reader over the content of the next element. */
  open(tag: TagName): DerReader {
    return new DerReader(this.content(tag), this.#what);
  }

  /** An object identifier, as the hex of its content. */
  oid(): string {
    return hex(this.content("oid"));
  }

  /** The bytes of an integer that is not negative, in the shortest form, without the sign byte. */
  unsigned(): Uint8Array {
    const content = this.content("integer");
    const [first, second] = content;
    if (first === undefined || first >= 0x80) throw this.error("an integer is empty or negative");
    if (first !== 0 || second === undefined) return content;
    if (second < 0x80) throw this.error("an integer is not in its shortest form");
    return content.subarray(1);
  }

  /** An integer from 0 to `max`, which must be below 2^32. */
  smallInteger(max: number): number {
    const value = this.unsigned().reduce((sum, byte) => sum * 256 + byte, 0);
    if (value > max) throw this.error(`an integer is larger than ${max}`);
    return value;
  }

  /** A bit string of whole bytes. */
  wholeBytes(): Uint8Array {
    const content = this.content("bitString");
    if (content[0] !== 0) throw this.error("a bit string is not made of whole bytes");
    return content.subarray(1);
  }

  /** A boolean whose default is false: DER leaves the default out, so it is absent or true. */
  defaultFalse(): boolean {
    if (!this.at("boolean")) return false;
    if (hex(this.content("boolean")) !== "ff") throw this.error("a boolean is neither left out nor true");
    return true;
  }

  /** UTCTime or GeneralizedTime in the form of RFC 5280 §4.1.2.5, as unix seconds. */
  time(): number {
    const utc = this.at("utcTime");
    const text = Buffer.from(this.content(utc ? "utcTime" : "generalizedTime")).toString("latin1");
    const full = utc ? (text < "50" ? "20" : "19") + text : text;
    const [, year, month, day, hour, minute, second] =
      /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? [];
    const seconds = utcSeconds(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
    if (Number.isNaN(seconds)) throw this.error("a time is not a time");
    return seconds;
  }

  error(message: string): QuoteError {
    return new QuoteError("certificate_malformed", `reading ${this.#what}: ${message}`);
  }

  #next(tag: TagName): { element: Uint8Array; content: Uint8Array } {
    const start = this.#offset;
    if (this.#bytes[start] !== Tag[tag]) throw this.error(`a ${tag} is missing`);
    const { length, headerBytes } = this.#length(start + 1);
    const contentStart = start + 1 + headerBytes;
    if (length > this.#bytes.length - contentStart) throw this.error(`a ${tag} reaches past the end`);
    this.#offset = contentStart + length;
    return {
      element: this.#bytes.subarray(start, this.#offset),
      content: this.#bytes.subarray(contentStart, this.#offset),
    };
  }

  #length(at: number): { length: number; headerBytes: number } {
    const first = this.#bytes[at] ?? 0x80;
    if (first < 0x80) return { length: first, headerBytes: 1 };
    const count = first & 0x7f;
    const digits = this.#bytes.subarray(at + 1, at + 1 + count);
    const length = digits.reduce((sum, byte) => sum * 256 + byte, 0);
    // No digits, an indefinite length, count as 0. Where digits are cut off, the content would begin behind the end.
    if (length < 0x80 || digits[0] === 0) throw this.error("a length is not in its shortest form");
    return { length, headerBytes: 1 + count };
  }
}

/** Unix seconds of a time in the form `2026-01-31T12:00:00Z`; NaN for any other text, and when there is no such time. */
export function utcSeconds(text: string): number {
  const date = new Date(text);
  // A date that does not exist rolls over to one that does, which is written in another way.
  const exists = !Number.isNaN(date.getTime()) && date.toISOString() === text.replace("Z", ".000Z");
  return exists ? date.getTime() / 1000 : NaN;
}
