import { sameBytes, sha256 } from "@dstack/core";

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
/** Root of a tree without leaves. */
export const NO_LEAVES = sha256();

/** Hash of a leaf (RFC 6962 §2.1). Leaves and nodes are hashed apart, so that none can pass for the other. */
export function leafHash(data: string | Uint8Array): Uint8Array {
  return sha256(LEAF, data);
}

/** Hash over two subtrees. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(NODE, left, right);
}

/** The largest power of two below `size`, for sizes above 1. */
function split(size: number): number {
  let half = 1;
  while (half * 2 < size) half *= 2;
  return half;
}

/** Leaves from the first number up to, and without, the second. */
export type Range = readonly [start: number, end: number];

/** The subtrees whose hashes are the audit path of a leaf (RFC 6962 §2.1.1), from the bottom up. */
export function inclusionRanges(index: number, size: number): Range[] {
  const ranges: Range[] = [];
  let [start, end] = [0, size];
  while (end - start > 1) {
    const middle = start + split(end - start);
    if (index < middle) {
      ranges.push([middle, end]);
      end = middle;
    } else {
      ranges.push([start, middle]);
      start = middle;
    }
  }
  return ranges.reverse();
}

/** The subtrees whose hashes prove that the first `oldSize` leaves begin the first `size` (RFC 6962 §2.1.2). */
export function consistencyRanges(oldSize: number, size: number): Range[] {
  const ranges: Range[] = [];
  let [start, end] = [0, size];
  while (oldSize !== end) {
    const middle = start + split(end - start);
    if (oldSize <= middle) {
      ranges.push([middle, end]);
      end = middle;
    } else {
      ranges.push([start, middle]);
      start = middle;
    }
  }
  // Who has the old root knows the old tree where it is whole; anything else is named.
  if (start > 0) ranges.push([start, end]);
  return ranges.reverse();
}

/** A subtree's range as those of whole subtrees, the largest first: its node is over them from the right. */
export function wholeSubtrees([start, end]: Range): Range[] {
  if (Number.isInteger(Math.log2(end - start))) return [[start, end]];
  const middle = start + split(end - start);
  return [[start, middle], ...wholeSubtrees([middle, end])];
}

/**
 * The Merkle tree of RFC 6962 §2.1 over a list that only grows. The nodes of whole subtrees are kept, 64 bytes a leaf:
 * appending, a root and a proof take a number of steps that grows with the logarithm of the size.
 */
export class MerkleTree {
  /** `#levels[k][i]`: the node over leaves i·2^k up to (i+1)·2^k, all of which are there. */
  readonly #levels: Uint8Array[][] = [[]];

  /** Number of leaves. */
  get size(): number {
    return this.#levels[0]?.length ?? 0;
  }

  append(leaf: Uint8Array): void {
    let node = leaf;
    for (let k = 0; ; k += 1) {
      const level = (this.#levels[k] ??= []);
      level.push(node);
      const left = level.length % 2 === 0 ? level.at(-2) : undefined;
      if (left === undefined) return;
      node = nodeHash(left, node);
    }
  }

  /** Hash of the first `size` leaves. */
  root(size: number = this.size): Uint8Array {
    this.#requireSize(size);
    return size === 0 ? NO_LEAVES : this.#over([0, size]);
  }

  /** The audit path of a leaf among the first `size` (RFC 6962 §2.1.1), from the bottom up. */
  inclusionPath(index: number, size: number = this.size): Uint8Array[] {
    this.#requireSize(size);
    if (!Number.isInteger(index) || index < 0 || index >= size)
      throw new RangeError(`there is no leaf ${index}`);
    return inclusionRanges(index, size).map((range) => this.#over(range));
  }

  /** Proof that the first `oldSize` leaves begin the first `size` (RFC 6962 §2.1.2). */
  consistencyPath(oldSize: number, size: number = this.size): Uint8Array[] {
    this.#requireSize(size);
    if (!Number.isInteger(oldSize) || oldSize < 1 || oldSize > size) {
      throw new RangeError(`there is no earlier log of ${oldSize} entries`);
    }
    return consistencyRanges(oldSize, size).map((range) => this.#over(range));
  }

  /** Node over a subtree. */
  #over(range: Range): Uint8Array {
    const nodes = wholeSubtrees(range).map(([start, end]) => {
      const node = this.#levels[Math.log2(end - start)]?.[start / (end - start)];
      if (node === undefined) throw new RangeError(`there are no leaves ${start} to ${end}`);
      return node;
    });
    return nodes.reduceRight((right, left) => nodeHash(left, right));
  }

  #requireSize(size: number): void {
    if (!Number.isInteger(size) || size < 0 || size > this.size) {
      throw new RangeError(`there are ${this.size} leaves, not ${size}`);
    }
  }
}

/** Whether a leaf stands at a place of the tree with this root (RFC 9162 §2.1.3.2). */
export function verifyInclusion(proof: {
  readonly leaf: Uint8Array;
  readonly index: number;
  readonly size: number;
  readonly path: readonly Uint8Array[];
  readonly root: Uint8Array;
}): boolean {
  let place = proof.index;
  let last = proof.size - 1;
  if (!Number.isSafeInteger(place) || place < 0 || place > last) return false;
  let hash = proof.leaf;
  for (const beside of proof.path) {
    if (last === 0) return false;
    if (place % 2 === 1 || place === last) {
      hash = nodeHash(beside, hash);
      // A last leaf without a partner is its own parent, as often as that takes.
      while (place % 2 === 0 && place !== 0) [place, last] = [half(place), half(last)];
    } else {
      hash = nodeHash(hash, beside);
    }
    [place, last] = [half(place), half(last)];
  }
  return last === 0 && sameBytes(hash, proof.root);
}

/** Whether the tree with the old root begins the tree with the new one (RFC 9162 §2.1.4.2). */
export function verifyConsistency(proof: {
  readonly oldSize: number;
  readonly oldRoot: Uint8Array;
  readonly size: number;
  readonly root: Uint8Array;
  readonly path: readonly Uint8Array[];
}): boolean {
  const { oldSize, oldRoot, size, root } = proof;
  if (!Number.isSafeInteger(oldSize) || oldSize < 1 || oldSize > size) return false;
  if (oldSize === size) return proof.path.length === 0 && sameBytes(oldRoot, root);
  const isPowerOfTwo = Number.isInteger(Math.log2(oldSize));
  const [first, ...rest] = isPowerOfTwo ? [oldRoot, ...proof.path] : proof.path;
  if (first === undefined) return false;
  let [place, last] = [oldSize - 1, size - 1];
  while (place % 2 === 1) [place, last] = [half(place), half(last)];
  let [before, now] = [first, first];
  for (const beside of rest) {
    if (last === 0) return false;
    if (place % 2 === 1 || place === last) {
      [before, now] = [nodeHash(beside, before), nodeHash(beside, now)];
      while (place % 2 === 0 && place !== 0) [place, last] = [half(place), half(last)];
    } else {
      now = nodeHash(now, beside);
    }
    [place, last] = [half(place), half(last)];
  }
  return last === 0 && sameBytes(before, oldRoot) && sameBytes(now, root);
}

function half(value: number): number {
  return Math.floor(value / 2);
}
