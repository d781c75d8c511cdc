import { InputError } from "./errors.js";

/** One DER element: its tag, its content, and the whole of it with header. Views, not copies. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly whole: Uint8Array;
}

export const DER = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  context0: 0xa0,
  context3: 0xa3,
} as const;

/**
 * A forward reader over DER bytes. It never recurses and never allocates by a length it read: the caller decides
 * what to descend into. Only definite, minimal lengths and single-byte tags are accepted (X.690 §10.1, §8.1.2).
 */
export class DerReader {
  #offset = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly what: string,
  ) {}

  get atEnd(): boolean {
    return this.#offset === this.bytes.length;
  }

  /** The next tag, or `undefined` at the end. */
  peek(): number | undefined {
    return this.bytes[this.#offset];
  }

  /** @throws {InputError} at the end, malformed, or another tag than asked for */
  next(tag?: number): DerElement {
    const start = this.#offset;
    const found = this.#byte();
    if ((found & 0x1f) === 0x1f) throw new InputError(`${this.what}: multi-byte DER tag`);
    if (tag !== undefined && found !== tag) throw new InputError(`${this.what}: unexpected DER tag ${found}`);
    const length = this.#length();
    if (length > this.bytes.length - this.#offset) throw new InputError(`${this.what}: DER is truncated`);
    const contentStart = this.#offset;
    this.#offset += length;
    return {
      tag: found,
      content: this.bytes.subarray(contentStart, this.#offset),
      whole: this.bytes.subarray(start, this.#offset),
    };
  }

  /** @throws {InputError} when anything is left */
  end(): void {
    if (!this.atEnd) throw new InputError(`${this.what}: trailing bytes`);
  }

  #byte(): number {
    const value = this.bytes[this.#offset];
    if (value === undefined) throw new InputError(`${this.what}: DER is truncated`);
    this.#offset += 1;
    return value;
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    // Four bytes of length would be a certificate above 16 MiB; nothing we read is.
    if (count === 0 || count > 3) throw new InputError(`${this.what}: unacceptable DER length`);
    let length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 256 ** (count - 1))
      throw new InputError(`${this.what}: DER length is not minimal`);
    return length;
  }
}

/** Dotted form of an OID's content bytes. @throws {InputError} malformed */
export function oidText(content: Uint8Array): string {
  const arcs: number[] = [];
  let value = 0;
  let inArc = false;
  for (const byte of content) {
    if (!inArc && byte === 0x80) throw new InputError("OID arc is not minimal");
    if (value > 2 ** 40) throw new InputError("OID arc is too large");
    value = value * 128 + (byte & 0x7f);
    inArc = (byte & 0x80) !== 0;
    if (inArc) continue;
    if (arcs.length === 0) {
      const root = Math.min(Math.floor(value / 40), 2);
      arcs.push(root, value - 40 * root);
    } else arcs.push(value);
    value = 0;
  }
  if (inArc || arcs.length === 0) throw new InputError("OID is malformed");
  return arcs.join(".");
}

/** Unix seconds of a UTCTime or GeneralizedTime in the only forms RFC 5280 §4.1.2.5 allows. @throws {InputError} */
export function timeSeconds(element: DerElement): number {
  const text = Buffer.from(element.content).toString("latin1");
  let full: string;
  if (element.tag === DER.utcTime && /^\d{12}Z$/.test(text)) {
    full = (Number(text.slice(0, 2)) >= 50 ? "19" : "20") + text;
  } else if (element.tag === DER.generalizedTime && /^\d{14}Z$/.test(text)) full = text;
  else throw new InputError("certificate time is malformed");
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? [];
  const iso = `${y}-${mo}-${d}T${h}:${mi}:${s}.000Z`;
  const date = new Date(iso);
  // Date rolls 31 February over to March; a round trip shows it.
  if (Number.isNaN(date.getTime()) || date.toISOString() !== iso)
    throw new InputError("certificate time is malformed");
  return date.getTime() / 1000;
}
