/** Where the first superblock stands (ext4 documentation, "The Super Block"). */
export const EXT4_SUPERBLOCK_OFFSET = 1024;
export const EXT4_SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;

/** Bytes an ext4 file system covers, from its superblock; `undefined` when that is none. */
export function ext4Size(superblock: Uint8Array): number | undefined {
  const view = new DataView(superblock.buffer, superblock.byteOffset, superblock.byteLength);
  if (view.getUint16(0x38, true) !== MAGIC) return undefined;
  const blocks = view.getUint32(0x4, true) + view.getUint32(0x150, true) * 2 ** 32;
  return blocks * 1024 * 2 ** view.getUint32(0x18, true);
}
