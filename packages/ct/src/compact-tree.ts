import { NO_LEAVES, nodeHash } from "./merkle.js";

/** As a state file keeps it: one hash for each bit that is set in `size`, the largest subtree first. */
export interface CompactTreeState {
  readonly size: number;
  readonly nodes: readonly Uint8Array[];
}

/**
 * What has to be kept of a Merkle tree to append to it and to know its root: a hash for each whole subtree, some thirty
 * for a billion leaves. Who has followed a log so far with one of these can check that entries really give the root
 * the log signed.
 */
export class CompactTree implements CompactTreeState {
  #size = 0;
  readonly #nodes: Uint8Array[] = [];

  /** @throws {RangeError} hashes that are not those of a tree of this size */
  static from({ size, nodes }: CompactTreeState): CompactTree {
    if (!Number.isSafeInteger(size) || size < 0 || nodes.length !== bitsSet(size)) {
      throw new RangeError("these are not the subtrees of a tree of this size");
    }
    const tree = new CompactTree();
    tree.#size = size;
    tree.#nodes.push(...nodes);
    return tree;
  }

  /**
   * The tree of `size` leaves, from its last leaf and that leaf's audit path: all that stands beside the last leaf is
   * whole subtrees. Whether it is the log's tree shows its {@link root}.
   * @param path from the bottom up (RFC 6962 §2.1.1)
   * @throws {RangeError} a path of another length
   */
  static fromLastLeaf(size: number, leaf: Uint8Array, path: readonly Uint8Array[]): CompactTree {
    let inLast = 0;
    for (let rest = size; rest > 0 && rest % 2 === 0; rest /= 2) inLast += 1;
    let node = leaf;
    for (const beside of path.slice(0, inLast)) node = nodeHash(beside, node);
    if (path.length < inLast) throw new RangeError("the audit path is too short");
    return CompactTree.from({ size, nodes: [...path.slice(inLast).toReversed(), node] });
  }

  /** Number of leaves. */
  get size(): number {
    return this.#size;
  }

  get nodes(): readonly Uint8Array[] {
    return this.#nodes;
  }

  append(leaf: Uint8Array): void {
    let node = leaf;
    // As many whole subtrees of the same size stand at the end as the size has ones at its end.
    for (let rest = this.#size; rest % 2 === 1; rest = (rest - 1) / 2) {
      const left = this.#nodes.pop();
      if (left === undefined) throw new RangeError("a subtree is missing");
      node = nodeHash(left, node);
    }
    this.#nodes.push(node);
    this.#size += 1;
  }

  root(): Uint8Array {
    return (
      this.#nodes.reduceRight<Uint8Array | undefined>(
        (right, left) => (right === undefined ? left : nodeHash(left, right)),
        undefined,
      ) ?? NO_LEAVES
    );
  }

  copy(): CompactTree {
    return CompactTree.from(this);
  }
}

function bitsSet(size: number): number {
  let bits = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) bits += rest % 2;
  return bits;
}
