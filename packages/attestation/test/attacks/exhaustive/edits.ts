import { put } from "../../support/edit-quote.js";

/**
 * Whether everything is tried, as `pnpm attack:exhaustive` does. Without it, all bits of quotes and all truncations are
 * tried, but two edits of each character of texts, and a part of the values of length fields.
 */
export const EXHAUSTIVE = process.env["DSTACK_EXHAUSTIVE"] === "1";

export interface Edit<T> {
  /** Where and how, to be found again. */
  readonly name: string;
  readonly edited: T;
}

/** Each bit in turn. */
export function* bitFlips(bytes: Uint8Array): Generator<Edit<Uint8Array>> {
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      yield { name: `bit ${bit} of byte ${at}`, edited: put(bytes, at, [(bytes[at] ?? 0) ^ (1 << bit)]) };
    }
  }
}

/** Each beginning, the empty one included. */
export function* truncations<T extends Uint8Array | string>(
  whole: T,
  end = whole.length,
): Generator<Edit<T>> {
  for (let length = 0; length < end; length++) {
    yield { name: `the first ${length}`, edited: whole.slice(0, length) as T };
  }
}

const ASCII = Array.from({ length: 128 }, (_, code) => code);

/** How many edits of each character there are: the whole form's, and the short one's. */
export const EDITS_OF_A_CHARACTER = EXHAUSTIVE ? 131 : 2;

/**
 * Each character replaced by every other one of ASCII, left out, doubled, and with white space before it. The short form
 * takes one replacement, by what differs in one bit, and the omission.
 */
export function* characterEdits(text: string, all = EXHAUSTIVE): Generator<Edit<string>> {
  for (let at = 0; at < text.length; at++) {
    const [before, character, after] = [text.slice(0, at), text.charAt(at), text.slice(at + 1)];
    const code = character.charCodeAt(0);
    for (const other of all ? ASCII.filter((other) => other !== code) : [code ^ (1 << ((at * 3) % 7))]) {
      yield { name: `code ${other} as character ${at}`, edited: before + String.fromCharCode(other) + after };
    }
    yield { name: `without character ${at}`, edited: before + after };
    if (!all) continue;
    yield { name: `character ${at} twice`, edited: before + character + character + after };
    yield { name: `a space before character ${at}`, edited: `${before} ${character}${after}` };
    yield { name: `a line feed before character ${at}`, edited: `${before}\n${character}${after}` };
  }
}

/** Where a length or a type stands. */
export interface Field {
  readonly name: string;
  readonly at: number;
  readonly bytes: 2 | 4;
}

/**
 * Other values of a field: those near powers of two, near the true one and wrapped around, and all (in the short form
 * every 61st) of those that a length within the largest quote can have.
 */
export function* lies(
  bytes: Uint8Array,
  { name, at, bytes: width }: Field,
  all = EXHAUSTIVE,
): Generator<Edit<Uint8Array>> {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const truth = width === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
  const values = new Set<number>();
  for (let value = 0; value < 70_000; value += all ? 1 : 61) values.add(value % 2 ** (8 * width));
  for (let near = -40; near <= 40; near++) values.add(Math.max(0, truth + near));
  for (let bit = 0; bit <= 8 * width; bit++) {
    for (const near of [-1, 0, 1, truth - 1, truth, truth + 1, -truth]) {
      values.add((2 ** bit + near + 2 ** 33) % 2 ** (8 * width));
    }
  }
  values.delete(truth);
  for (const value of values) {
    const lie = new Uint8Array(4);
    new DataView(lie.buffer).setUint32(0, value, true);
    yield { name: `${name} ${value}`, edited: put(bytes, at, lie.subarray(0, width)) };
  }
}

/** Those edits that were taken, by name. */
export function accepted<T>(
  edits: Iterable<Edit<T>>,
  takes: (edited: T) => boolean,
): { of: number; taken: string[] } {
  const taken: string[] = [];
  let of = 0;
  for (const { name, edited } of edits) {
    of++;
    if (takes(edited)) taken.push(name);
  }
  return { of, taken };
}
