export { parseTreeHead, verifyTreeHead, logIdOf, MAX_TREE_SIZE } from "./tree-head.js";
export type { TreeHead } from "./tree-head.js";
export { originOf, parseCheckpoint } from "./checkpoint.js";
export {
  TILE_WIDTH,
  consistencyPathFromTiles,
  inclusionPathFromTiles,
  parseDataTile,
  tilePath,
  tileWidth,
} from "./tiles.js";
export type { ReadTile } from "./tiles.js";
export { parseEntry, MAX_ENTRY_BYTES } from "./entry.js";
export type { LogEntry } from "./entry.js";
export { readIssued } from "./issued-certificate.js";
export type { IssuedCertificate } from "./issued-certificate.js";
export { isNameOf, mentions, wildcardAbove } from "./names.js";
export { CompactTree } from "./compact-tree.js";
export type { CompactTreeState } from "./compact-tree.js";
export { MerkleTree, leafHash, verifyConsistency, verifyInclusion } from "./merkle.js";
