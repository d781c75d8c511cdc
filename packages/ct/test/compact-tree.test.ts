import { describe, expect, it } from "vitest";
import { CompactTree } from "../src/compact-tree.js";
import { MerkleTree, leafHash } from "../src/merkle.js";

const leaves = Array.from({ length: 70 }, (_, i) => leafHash(`entry ${i}`));
const full = new MerkleTree();
for (const leaf of leaves) full.append(leaf);
const leafAt = (index: number): Uint8Array => leaves[index] ?? new Uint8Array();

describe("CompactTree", () => {
  it("has the root of the whole tree at every size, also when it is stored in between", () => {
    let tree = new CompactTree();
    expect(tree.root()).toEqual(full.root(0));
    for (const [index, leaf] of leaves.entries()) {
      tree.append(leaf);
      expect(tree.root()).toEqual(full.root(index + 1));
      tree = CompactTree.from({ size: tree.size, nodes: [...tree.nodes] });
    }
  });

  it("is made from the last leaf and its audit path, and goes on from there", () => {
    for (let size = 1; size < leaves.length; size += 1) {
      const path = full.inclusionPath(size - 1, size);
      const tree = CompactTree.fromLastLeaf(size, leafAt(size - 1), path);
      expect(tree.root()).toEqual(full.root(size));
      tree.append(leafAt(size));
      expect(tree.root()).toEqual(full.root(size + 1));
      expect(() => CompactTree.fromLastLeaf(size, leafAt(size - 1), [...path, leafAt(0)])).toThrow(
        RangeError,
      );
      if (path.length === 0) continue;
      expect(() => CompactTree.fromLastLeaf(size, leafAt(size - 1), path.slice(1))).toThrow(RangeError);
    }
  });

  it("refuses hashes that are not those of its size", () => {
    expect(() => CompactTree.from({ size: 3, nodes: [leafAt(0)] })).toThrow(RangeError);
    expect(() => CompactTree.from({ size: -1, nodes: [] })).toThrow(RangeError);
    expect(() => CompactTree.from({ size: 1.5, nodes: [leafAt(0)] })).toThrow(RangeError);
  });
});
