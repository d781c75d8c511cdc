import { concatBytes } from "@dstack/core";
import type { Random } from "./random.js";

/** Values at which lengths, counts and dates break. */
const NUMBERS = [
  0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
];

type Mutation = (input: Uint8Array, random: Random, material: Material) => Uint8Array;

/** What goes into inputs besides random bytes. */
export interface Material {
  readonly words: readonly Uint8Array[];
  readonly corpus: readonly Uint8Array[];
}

function splice(input: Uint8Array, at: number, drop: number, add: Uint8Array): Uint8Array {
  return concatBytes(input.subarray(0, at), add, input.subarray(at + drop));
}

function overwrite(input: Uint8Array, at: number, add: Uint8Array): Uint8Array {
  return splice(input, at, add.length, add);
}

/** A number in the forms that binary formats have. */
function encoded(value: number, random: Random): Uint8Array {
  const bytes = new Uint8Array(4);
  const littleEndian = random.below(2) === 0;
  const width = random.of([1, 2, 4]);
  const view = new DataView(bytes.buffer);
  if (width === 1) view.setUint8(0, value & 0xff);
  else if (width === 2) view.setUint16(0, value & 0xffff, littleEndian);
  else view.setUint32(0, value, littleEndian);
  return bytes.subarray(0, width);
}

/** A stretch of the input, often short. */
function stretch(input: Uint8Array, random: Random): { at: number; length: number } {
  const at = random.below(input.length + 1);
  const longest = Math.min(input.length - at, random.of([1, 2, 4, 16, 64, 4096]));
  return { at, length: random.below(longest + 1) };
}

const MUTATIONS: readonly Mutation[] = [
  function flipBit(input, random) {
    const at = random.below(input.length);
    return overwrite(input, at, Uint8Array.of((input[at] ?? 0) ^ (1 << random.below(8))));
  },
  function setByte(input, random) {
    return overwrite(input, random.below(input.length), Uint8Array.of(random.below(256)));
  },
  function addToByte(input, random) {
    const at = random.below(input.length);
    return overwrite(input, at, Uint8Array.of((input[at] ?? 0) + random.below(9) - 4));
  },
  function setNumber(input, random) {
    return overwrite(input, random.below(input.length), encoded(random.of(NUMBERS), random));
  },
  /** A length that tells how much follows, more or less. */
  function setRest(input, random) {
    const at = random.below(input.length);
    return overwrite(input, at, encoded(input.length - at + random.below(9) - 6, random));
  },
  function remove(input, random) {
    const { at, length } = stretch(input, random);
    return splice(input, at, length, new Uint8Array());
  },
  function repeat(input, random) {
    const { at, length } = stretch(input, random);
    const piece = input.subarray(at, at + length);
    const times = random.of([1, 1, 1, 4, 100]);
    return splice(input, at, 0, concatBytes(...Array.from({ length: times }, () => piece)));
  },
  function move(input, random) {
    const { at, length } = stretch(input, random);
    const rest = splice(input, at, length, new Uint8Array());
    return splice(rest, random.below(rest.length + 1), 0, input.subarray(at, at + length));
  },
  function insertRandom(input, random) {
    const bytes = Uint8Array.from({ length: 1 + random.below(8) }, () => random.below(256));
    return splice(input, random.below(input.length + 1), 0, bytes);
  },
  function insertWord(input, random, { words }) {
    if (words.length === 0) return input;
    const word = random.of(words);
    const at = random.below(input.length + 1);
    return random.below(2) === 0 ? overwrite(input, at, word) : splice(input, at, 0, word);
  },
  function cross(input, random, { corpus }) {
    const other = random.of(corpus);
    const { at, length } = stretch(other, random);
    const into = random.below(input.length + 1);
    return splice(input, into, random.below(2) === 0 ? length : 0, other.subarray(at, at + length));
  },
  function cut(input, random) {
    return input.subarray(0, random.below(input.length + 1));
  },
];

/** The input after one to eight changes, seldom many; never longer than `maxBytes`. */
export function mutate(input: Uint8Array, random: Random, material: Material, maxBytes: number): Uint8Array {
  let changed = input;
  for (let left = random.of([1, 1, 1, 2, 2, 3, 5, 8]); left > 0; left--) {
    if (changed.length === 0) changed = random.of(material.corpus);
    const next = random.of(MUTATIONS)(changed, random, material);
    changed = next.length > maxBytes ? next.subarray(0, maxBytes) : next;
  }
  // A copy: readers hand out views, and a view into the corpus must not be written to.
  return changed.slice();
}
