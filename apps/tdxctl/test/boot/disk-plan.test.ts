import { describe, expect, it } from "vitest";
import { BLANK_CHECK_BYTES, planDisk } from "../../src/boot/disk/disk-plan.js";
import { ext4Size } from "../../src/boot/disk/ext4-size.js";

const blank = new Uint8Array(BLANK_CHECK_BYTES);

function withByteAt(offset: number): Uint8Array {
  const disk = new Uint8Array(blank);
  disk[offset] = 1;
  return disk;
}

describe("planDisk", () => {
  it("formats a blank disk of a new instance", () => {
    expect(planDisk(blank, false)).toBe("format");
    expect(planDisk(new Uint8Array(100_001), false)).toBe("format");
  });

  it.each([0, 1, 65_535, 65_536, 2 ** 20 + 7, BLANK_CHECK_BYTES - 1])(
    "G3: never formats a disk with one byte set, at %d",
    (offset) => {
      expect(planDisk(withByteAt(offset), false)).toBe("open");
      expect(planDisk(withByteAt(offset), true)).toBe("open");
    },
  );

  it("G3: never formats the disk of an instance that had data", () => {
    expect(() => planDisk(blank, true)).toThrow(
      "the data disk is blank, but this instance has had data before",
    );
  });
});

describe("ext4Size", () => {
  it("reads blocks and block size of both halves", () => {
    const superblock = new Uint8Array(1024);
    const view = new DataView(superblock.buffer);
    expect(ext4Size(superblock)).toBeUndefined();
    view.setUint16(0x38, 0xef53, true);
    view.setUint32(0x4, 1_048_320, true);
    view.setUint32(0x18, 2, true);
    expect(ext4Size(superblock)).toBe(1_048_320 * 4096);
    view.setUint32(0x150, 1, true);
    expect(ext4Size(superblock)).toBe((2 ** 32 + 1_048_320) * 4096);
  });
});
