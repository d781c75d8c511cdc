import { concatBytes, sha256 } from "@dstack/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  MerkleTree,
  consistencyPathFromTiles,
  inclusionPathFromTiles,
  leafHash,
  parseDataTile,
  tilePath,
  tileWidth,
} from "../src/index.js";
import type { ReadTile } from "../src/index.js";

/** The static-ct-api's own example of a tree that has tiles of three levels. */
const SIZE = 70_000;
const leaves = Array.from({ length: SIZE }, (_, i) => leafHash(`entry ${i}`));
const tree = new MerkleTree();
for (const leaf of leaves) tree.append(leaf);

const whole = new Map<string, Uint8Array>();
/** MTH(D[i · 256^level : (i + 1) · 256^level]), as the specification defines a tile's hashes. */
function hashAt(level: number, i: number): Uint8Array {
  if (level === 0) return leaves[i] ?? new Uint8Array();
  const name = `${level}/${i}`;
  const subtree = new MerkleTree();
  if (!whole.has(name)) {
    for (let at = 0; at < 256; at += 1) subtree.append(hashAt(level - 1, i * 256 + at));
    whole.set(name, subtree.root());
  }
  return whole.get(name) ?? new Uint8Array();
}
const read: ReadTile = (level, index, width) =>
  Promise.resolve(concatBytes(...Array.from({ length: width }, (_, i) => hashAt(level, index * 256 + i))));

describe("C3: tiles of a log", () => {
  it("are found as the specification says", () => {
    expect(tilePath(0, 1_234_067)).toBe("tile/0/x001/x234/067");
    expect(tilePath("data", 0)).toBe("tile/data/000");
    expect(tilePath(2, 1000, 17)).toBe("tile/2/x001/000.p/17");
    expect(tilePath("data", 999_999, 256)).toBe("tile/data/x999/999");
    const widths = [
      [0, 272, 256],
      [0, 273, 112],
      [0, 274, 0],
      [1, 0, 256],
      [1, 1, 17],
      [2, 0, 1],
    ] as const;
    for (const [level, index, width] of widths) expect(tileWidth(level, index, SIZE)).toBe(width);
  });

  it("give the proofs that the log itself would give", async () => {
    const places = [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 69_998, SIZE - 1];
    for (const index of places) {
      expect(await inclusionPathFromTiles(index, SIZE, read)).toEqual(tree.inclusionPath(index, SIZE));
    }
    const size = fc.integer({ min: 1, max: SIZE });
    await fc.assert(
      fc.asyncProperty(size, size, async (a, b) => {
        const [older, newer] = [Math.min(a, b), Math.max(a, b)];
        expect(await consistencyPathFromTiles(older, newer, read)).toEqual(
          tree.consistencyPath(older, newer),
        );
        expect(await inclusionPathFromTiles(older - 1, newer, read)).toEqual(
          tree.inclusionPath(older - 1, newer),
        );
      }),
      { numRuns: 100 },
    );
  });

  it("are asked for once each, in the width that the tree has", async () => {
    const asked: string[] = [];
    await consistencyPathFromTiles(69_999, SIZE, (level, index, width) => {
      expect(width).toBe(tileWidth(level, index, SIZE));
      asked.push(tilePath(level, index, width));
      return read(level, index, width);
    });
    expect(asked.toSorted()).toEqual(["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
  });

  it("are refused when they are shorter than the tree says", async () => {
    const short: ReadTile = async (...which) => (await read(...which)).subarray(32);
    await expect(inclusionPathFromTiles(5, SIZE, short)).rejects.toThrow(/has not 256 hashes/);
  });
});

const uint = (value: number, bytes: number): Uint8Array => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, Math.max(0, bytes - 6), Math.min(bytes, 6));
  return buffer;
};
const opaque = (lengthBytes: number, bytes: Uint8Array) =>
  concatBytes(uint(bytes.length, lengthBytes), bytes);
/** TimestampedEntry of RFC 6962 §3.4, with the leaf index that tiled logs put into its extensions. */
const x509 = concatBytes(
  uint(7, 8),
  uint(0, 2),
  opaque(3, Buffer.from("certificate")),
  opaque(2, uint(9, 8)),
);
const precert = concatBytes(
  uint(8, 8),
  uint(1, 2),
  sha256("issuer key"),
  opaque(3, Buffer.from("tbs")),
  uint(0, 2),
);
const chain = opaque(2, concatBytes(sha256("a"), sha256("b")));
const tile = concatBytes(x509, chain, precert, opaque(3, Buffer.from("precertificate")), chain, x509, chain);

describe("C3: tiles of entries", () => {
  it("hold what get-entries would give, beside what no hash is over", () => {
    const head = Uint8Array.of(0, 0);
    expect(parseDataTile(tile, 3)).toEqual([
      concatBytes(head, x509),
      concatBytes(head, precert),
      concatBytes(head, x509),
    ]);
  });

  it("are refused with other entries than the tree has, cut anywhere, and of unknown types", () => {
    expect(() => parseDataTile(tile, 2)).toThrow(/has 3 of them, not 2/);
    expect(() => parseDataTile(tile, 4)).toThrow(/has 3 of them, not 4/);
    for (let length = 1; length < tile.length; length += 1) {
      expect(() => parseDataTile(tile.subarray(0, length), 3)).toThrow(/tile of entries/);
    }
    const strange = Uint8Array.from(tile);
    strange[9] = 2;
    expect(() => parseDataTile(strange, 3)).toThrow(/unknown type 2/);
  });
});
