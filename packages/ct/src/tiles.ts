import { InputError } from "@dstack/core";
import { MAX_ENTRY_BYTES } from "./entry.js";
import { consistencyRanges, inclusionRanges, nodeHash, wholeSubtrees } from "./merkle.js";
import type { Range } from "./merkle.js";

// Tiles of c2sp.org/static-ct-api: 256 hashes of one level of the tree side by side, or 256 entries.

/** Hashes, or entries, of a full tile. */
export const TILE_WIDTH = 256;
const TILE_HEIGHT = 8;
const HASH_BYTES = 32;

/** Path of a tile below the monitoring URL. @param width of a partial tile less than {@link TILE_WIDTH} */
export function tilePath(level: number | "data", index: number, width = TILE_WIDTH): string {
  const parts: string[] = [];
  for (let rest = index, last = true; last || rest > 0; rest = Math.floor(rest / 1000), last = false) {
    parts.unshift(`${last ? "" : "x"}${String(rest % 1000).padStart(3, "0")}`);
  }
  return `tile/${level}/${parts.join("/")}${width < TILE_WIDTH ? `.p/${width}` : ""}`;
}

/** How many hashes a tile has in the tree of that size; 0 when it has none. Level 0 also goes for entries. */
export function tileWidth(level: number, index: number, size: number): number {
  const hashes = Math.floor(size / TILE_WIDTH ** level);
  return Math.max(0, Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH));
}

/** Gives the first `width` hashes of a tile, one after another. What is made of them is checked, not they. */
export type ReadTile = (level: number, index: number, width: number) => Promise<Uint8Array>;

/** The audit path of a leaf (RFC 6962 §2.1.1) from tiles: what `get-proof-by-hash` would give. */
export function inclusionPathFromTiles(index: number, size: number, read: ReadTile): Promise<Uint8Array[]> {
  return pathFromTiles(inclusionRanges(index, size), size, read);
}

/** A consistency proof (RFC 6962 §2.1.2) from tiles: what `get-sth-consistency` would give. */
export function consistencyPathFromTiles(
  oldSize: number,
  size: number,
  read: ReadTile,
): Promise<Uint8Array[]> {
  return pathFromTiles(consistencyRanges(oldSize, size), size, read);
}

async function pathFromTiles(ranges: readonly Range[], size: number, read: ReadTile): Promise<Uint8Array[]> {
  const tiles = new Map<string, Promise<Uint8Array>>();
  const hashOf = async ([start, end]: Range): Promise<Uint8Array> => {
    const leaves = end - start;
    const level = Math.floor(Math.log2(leaves) / TILE_HEIGHT);
    const [first, count] = [start / TILE_WIDTH ** level, leaves / TILE_WIDTH ** level];
    const index = Math.floor(first / TILE_WIDTH);
    const width = tileWidth(level, index, size);
    const name = tilePath(level, index);
    const reading = tiles.get(name) ?? read(level, index, width);
    tiles.set(name, reading);
    const tile = await reading;
    if (tile.length !== width * HASH_BYTES) throw new InputError(`${name} has not ${width} hashes`);
    const at = (first - index * TILE_WIDTH) * HASH_BYTES;
    return subtree(tile.subarray(at, at + count * HASH_BYTES));
  };
  return Promise.all(
    ranges.map(async (range) => {
      const hashes = await Promise.all(wholeSubtrees(range).map(hashOf));
      return hashes.reduceRight((right, left) => nodeHash(left, right));
    }),
  );
}

/** Node over hashes that stand side by side, a power of two of them. */
function subtree(hashes: Uint8Array): Uint8Array {
  if (hashes.length === HASH_BYTES) return hashes;
  const middle = hashes.length / 2;
  return nodeHash(subtree(hashes.subarray(0, middle)), subtree(hashes.subarray(middle)));
}

/**
 * The leaves (`leaf_input` of RFC 6962 §4.6) in a tile of entries. What stands beside them is not hashed, and not believed.
 * @throws {InputError} malformed, or not `width` entries
 */
export function parseDataTile(tile: Uint8Array, width: number): Uint8Array[] {
  const bytes = Buffer.from(tile.buffer, tile.byteOffset, tile.byteLength);
  let at = 0;
  const skip = (count: number): void => {
    if (count > bytes.length - at) throw new InputError("tile of entries is truncated");
    at += count;
  };
  /** An opaque value after its length. */
  const skipOpaque = (lengthBytes: number): void => {
    skip(lengthBytes);
    skip(bytes.readUIntBE(at - lengthBytes, lengthBytes));
  };
  const leaves: Uint8Array[] = [];
  while (at < bytes.length) {
    const start = at;
    skip(10);
    const type = bytes.readUInt16BE(at - 2);
    if (type > 1) throw new InputError(`tile of entries has one of unknown type ${type}`);
    const isPrecert = type === 1;
    if (isPrecert) skip(HASH_BYTES);
    skipOpaque(3);
    skipOpaque(2);
    if (at - start > MAX_ENTRY_BYTES) throw new InputError("tile of entries has one that is too large");
    // MerkleTreeLeaf of version 0 and type 0 (RFC 6962 §3.4).
    const leaf = new Uint8Array(2 + at - start);
    leaf.set(bytes.subarray(start, at), 2);
    leaves.push(leaf);
    if (isPrecert) skipOpaque(3);
    skipOpaque(2);
  }
  if (leaves.length !== width) {
    throw new InputError(`tile of entries has ${leaves.length} of them, not ${width}`);
  }
  return leaves;
}
