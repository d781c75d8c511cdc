/**
 * The boot sector of the acceleration probe, assembled from `probe/payload.S` (run `probe/build.sh` for these
 * digits). It prints {@link PROBE_TEXT} on the first serial port once it has been through what a kernel needs.
 */
export const PROBE_SECTOR_HEX =
  "fafc31c08ed88ec08ed0bc0070bf0010b90018f3abc70600100320c70600200330c706003083000f0116587d66b82006" +
  "00000f22e066b8001000000f22d866b9800000c00f320d00010f300f20c024fb660d030000800f22c0ea5e7c0800b815" +
  "000000660f6ec0660ffec0660f7ec083f82a0f85c4000000b8010000000fa2f7d1f7c10000001475280f20e00d000004" +
  "000f22e031c931d2b8070000000f01d1c5f9fec8c5f97ec883f8540f858b00000031c00fa283f8077220b80700000031" +
  "c90fa2f7c300010000740fb903000000c4e271f7d183fa18756266c7042500420000407dc70425024200000800008e66" +
  "c7042506420000000048c7042508420000000000000f011c255e7d0000b011e620b020e621b004e621b001e621b0fee6" +
  "2131dbfbf4fa83fb0372f8be687d000066baf803ac84c07403eeebf8faf4ebfcffc3b020e62048cf0000000000000000" +
  "00000000009a20000f00487d00000f02004000000000000064737461636b2070726f6265206f6b0a";

/** What the payload prints. */
export const PROBE_TEXT = "dstack probe ok";

/** Firmware does not read from a disk of one sector, so the payload's disk has this size. */
const DISK_BYTES = 1024 * 1024;

/** A bootable disk holding the payload. */
export function probeDisk(): Uint8Array {
  const disk = new Uint8Array(DISK_BYTES);
  disk.set(Buffer.from(PROBE_SECTOR_HEX, "hex"));
  disk.set([0x55, 0xaa], 510);
  return disk;
}
