// Appends a dm-verity hash tree to a file and prints its root hash.
// usage: node verity-tree.mjs <file> <algorithm> <salt hex>
//
// The format is the one of `veritysetup format --no-superblock` (hash type 1, blocks of 4096 bytes, 32-byte digests):
// the levels of the tree from the root down, each padded to a block. veritysetup itself cannot do BLAKE2b-256, which
// the development flavour uses: without the processor's SHA instructions it costs a guest much less than SHA-256.
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";
import { createRequire } from "node:module";

const BLOCK_BYTES = 4096;
const DIGEST_BYTES = 32;
const DIGESTS_PER_BLOCK = BLOCK_BYTES / DIGEST_BYTES;

async function hasher(algorithm, salt) {
  if (algorithm === "sha256") return (block) => createHash("sha256").update(salt).update(block).digest();
  if (algorithm !== "blake2b-256") throw new Error(`no hash algorithm ${algorithm}`);
  const require = createRequire(new URL("../../../apps/tappd/package.json", import.meta.url));
  const { blake2b } = await import(require.resolve("@noble/hashes/blake2.js"));
  const salted = blake2b.create({ dkLen: DIGEST_BYTES }).update(salt);
  return (block) => salted.clone().update(block).digest();
}

function* blocksOf(file, bytes) {
  const chunk = Buffer.alloc(1024 * BLOCK_BYTES);
  for (let offset = 0; offset < bytes; offset += chunk.length) {
    const length = readSync(file, chunk, 0, Math.min(chunk.length, bytes - offset), offset);
    if (length % BLOCK_BYTES !== 0) throw new Error("the file changed while it was read");
    for (let at = 0; at < length; at += BLOCK_BYTES) yield chunk.subarray(at, at + BLOCK_BYTES);
  }
}

function pack(digests) {
  const level = Buffer.alloc(Math.ceil(digests.length / DIGESTS_PER_BLOCK) * BLOCK_BYTES);
  digests.forEach((digest, index) => level.set(digest, index * DIGEST_BYTES));
  return level;
}

const [path, algorithm, saltHex] = process.argv.slice(2);
if (path === undefined || algorithm === undefined || saltHex === undefined) {
  console.error("usage: node verity-tree.mjs <file> <algorithm> <salt hex>");
  process.exit(2);
}
const file = openSync(path, "r+");
const { size } = fstatSync(file);
// A single block would have no tree at all.
if (size <= BLOCK_BYTES || size % BLOCK_BYTES !== 0) {
  throw new Error(`${path} is not a whole number of 4096-byte blocks, two at least`);
}
const hash = await hasher(algorithm, Buffer.from(saltHex, "hex"));

const levels = [pack(Array.from(blocksOf(file, size), hash))];
for (let top = levels[0]; top.length > BLOCK_BYTES; top = levels[0]) {
  const digests = [];
  for (let at = 0; at < top.length; at += BLOCK_BYTES) digests.push(hash(top.subarray(at, at + BLOCK_BYTES)));
  levels.unshift(pack(digests));
}
let offset = size;
for (const level of levels) offset += writeSync(file, level, 0, level.length, offset);
closeSync(file);
console.log(Buffer.from(hash(levels[0])).toString("hex"));
