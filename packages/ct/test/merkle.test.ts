import { fromHex, hex, sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { MerkleTree, leafHash, verifyConsistency, verifyInclusion } from "../src/merkle.js";

/** RFC 6962 §2.1, word by word. */
function treeHash(leaves: readonly Uint8Array[]): Uint8Array {
  const [first] = leaves;
  if (first === undefined) return sha256();
  if (leaves.length === 1) return first;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return sha256(Uint8Array.of(1), treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)));
}

const leaves = Array.from({ length: 40 }, (_, i) => leafHash(`entry ${i}`));
const tree = new MerkleTree();
for (const leaf of leaves) tree.append(leaf);

const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte, at) => (at === 0 ? byte ^ 1 : byte));

describe("K5: MerkleTree", () => {
  it("has the roots of RFC 6962 for every size", () => {
    for (let size = 0; size <= leaves.length; size += 1) {
      expect(tree.root(size)).toEqual(treeHash(leaves.slice(0, size)));
    }
  });

  it("has the roots that Certificate Transparency's test data has", () => {
    // github.com/google/certificate-transparency, merkletree tests: eight inputs.
    const inputs = [
      "",
      "00",
      "10",
      "2021",
      "3031",
      "40414243",
      "5051525354555657",
      "606162636465666768696a6b6c6d6e6f",
    ];
    const known = new MerkleTree();
    for (const input of inputs) known.append(leafHash(fromHex(input)));
    expect(hex(known.root(1))).toBe("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    expect(hex(known.root(8))).toBe("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
  });

  it("K5: proves every entry of every size, and nothing else", () => {
    for (let size = 1; size <= leaves.length; size += 1) {
      const root = tree.root(size);
      for (let index = 0; index < size; index += 1) {
        const leaf = leaves[index] ?? new Uint8Array();
        const proof = { leaf, index, size, path: tree.inclusionPath(index, size), root };
        expect(verifyInclusion(proof)).toBe(true);
        expect(verifyInclusion({ ...proof, leaf: flipped(leaf) })).toBe(false);
        expect(verifyInclusion({ ...proof, root: flipped(root) })).toBe(false);
        expect(verifyInclusion({ ...proof, index: index + 1 })).toBe(false);
        expect(verifyInclusion({ ...proof, index: index - 1 })).toBe(false);
        expect(verifyInclusion({ ...proof, path: [...proof.path, root] })).toBe(false);
        if (proof.path.length === 0) continue;
        expect(verifyInclusion({ ...proof, path: proof.path.slice(1) })).toBe(false);
        expect(verifyInclusion({ ...proof, path: proof.path.map(flipped) })).toBe(false);
      }
    }
  });

  it("K5: proves that every log continues every earlier one, and no other", () => {
    for (let size = 1; size <= leaves.length; size += 1) {
      for (let oldSize = 1; oldSize <= size; oldSize += 1) {
        const path = tree.consistencyPath(oldSize, size);
        const proof = { oldSize, oldRoot: tree.root(oldSize), size, root: tree.root(size), path };
        expect(verifyConsistency(proof)).toBe(true);
        expect(verifyConsistency({ ...proof, oldRoot: flipped(proof.oldRoot) })).toBe(false);
        expect(verifyConsistency({ ...proof, root: flipped(proof.root) })).toBe(false);
        expect(verifyConsistency({ ...proof, path: [...path, proof.root] })).toBe(false);
        if (path.length === 0) continue;
        expect(verifyConsistency({ ...proof, path: path.slice(1) })).toBe(false);
        expect(verifyConsistency({ ...proof, path: path.map(flipped) })).toBe(false);
      }
    }
  });

  it("refuses places and sizes there are not", () => {
    expect(() => tree.root(41)).toThrow(RangeError);
    expect(() => tree.inclusionPath(40)).toThrow(RangeError);
    expect(() => tree.inclusionPath(-1)).toThrow(RangeError);
    expect(() => tree.consistencyPath(0)).toThrow(RangeError);
    expect(() => tree.consistencyPath(41)).toThrow(RangeError);
    const none = { leaf: sha256(), index: 0, size: 0, path: [], root: sha256() };
    expect(verifyInclusion(none)).toBe(false);
    expect(verifyConsistency({ oldSize: 0, oldRoot: sha256(), size: 1, root: sha256(), path: [] })).toBe(
      false,
    );
  });
});
