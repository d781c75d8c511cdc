import { InputError, concatBytes, hex, sha384 } from "@dstack/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { authenticodeSha384 } from "../../src/measurement/authenticode.js";
import { patchSetupHeader } from "../../src/measurement/setup-header.js";
import { KERNEL, makeKernel } from "./files.js";

const digest = (image: Uint8Array): string => hex(authenticodeSha384(image));

/** A kernel with a few bytes changed. */
function changed(offset: number, ...bytes: number[]): Uint8Array {
  const image = makeKernel();
  image.set(bytes, offset);
  return image;
}

describe("authenticodeSha384", () => {
  it("is SHA-384 without checksum, entry of the signatures and signatures", () => {
    const image = makeKernel({ trailing: 24, signature: 48 });
    const hashed = concatBytes(
      image.subarray(0, KERNEL.checksum),
      image.subarray(KERNEL.checksum + 4, KERNEL.security),
      image.subarray(KERNEL.security + 8, image.length - 48),
    );
    expect(digest(image)).toBe(hex(sha384(hashed)));
  });

  it("changes with every byte but these", () => {
    const before = digest(makeKernel());
    for (const free of [KERNEL.checksum, KERNEL.checksum + 3])
      expect(digest(changed(free, 0x55))).toBe(before);
    for (const at of [
      0,
      KERNEL.checksum - 8,
      KERNEL.checksum + 4,
      KERNEL.security + 8,
      KERNEL.sections,
      0x3fff,
    ]) {
      expect(digest(changed(at, (makeKernel()[at] ?? 0) ^ 1))).not.toBe(before);
    }
  });

  it("is the same for a kernel that somebody has signed", () => {
    const unsigned = makeKernel();
    const signed = new Uint8Array(concatBytes(unsigned, new Uint8Array(64)));
    new DataView(signed.buffer).setUint32(KERNEL.security, unsigned.length, true);
    new DataView(signed.buffer).setUint32(KERNEL.security + 4, 64, true);
    expect(digest(signed)).toBe(digest(unsigned));
  });

  it.each<[string, Uint8Array, RegExp]>([
    ["no file", new Uint8Array(), /offset of the PE header/],
    ["a kernel without EFI stub", changed(KERNEL.pe, 0), /CONFIG_EFI_STUB/],
    ["a PE header past the end", changed(0x3c, 0xff, 0xff, 0xff, 0xff), /PE signature/],
    ["97 sections", changed(KERNEL.pe + 6, 97), /97 sections/],
    ["no known header", changed(KERNEL.optional, 0), /neither PE32 nor/],
    ["no room for signatures", changed(KERNEL.optional + 108, 4), /no room for signatures/],
    ["a section table inside the header", changed(KERNEL.pe + 20, 8, 0), /headers do not fit/],
    ["headers longer than the file", changed(KERNEL.optional + 60, 0, 0, 0, 1), /headers do not fit/],
    ["headers shorter than the table", changed(KERNEL.optional + 60, 0x10, 4, 0, 0), /headers do not fit/],
    ["sections that overlap", changed(KERNEL.table + 40 + 17, 0x11), /follow one another/],
    ["a gap between sections", changed(KERNEL.table + 40 + 17, 0x0f), /follow one another/],
    ["a section past the end", changed(KERNEL.table + 17, 0x40), /sections reach past the end/],
    ["signatures in a section", changed(KERNEL.security, 0, 0x30, 0, 0, 0, 0x10, 0, 0), /ends with/],
    ["signatures past the end", changed(KERNEL.security, 0, 0x40, 0, 0, 8, 0, 0, 0), /ends with/],
    ["less than the whole file", makeKernel().subarray(0, 0x2000), /sections reach past the end/],
  ])("refuses %s", (_name, image, message) => {
    expect(() => authenticodeSha384(image)).toThrow(InputError);
    expect(() => authenticodeSha384(image)).toThrow(message);
  });

  it("answers or refuses with a sentence, whatever the bytes", () => {
    const edit = fc.tuple(
      fc.constantFrom(0x3c, KERNEL.pe, KERNEL.optional, KERNEL.security, KERNEL.table),
      fc.nat(120),
      fc.nat(255),
    );
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), fc.nat(0x4000), (edits, length) => {
        const image = makeKernel();
        for (const [base, offset, value] of edits) image[base + offset] = value;
        try {
          return authenticodeSha384(image.subarray(0, length)).length === 48;
        } catch (err) {
          return err instanceof InputError;
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("authenticodeSha384. FROZEN: an allowed image is known by it", () => {
  // From a second implementation in Python, which also gave what OVMF measured of Debian's kernel.
  it.each([
    [{}, "1074ce520e79786e54e00ff93fcab6a4ece7d2557875f3df9755ae6ecc1853cdd515054212d1c34bd67b627aa8911dc0"],
    [
      { trailing: 24, signature: 48 },
      "c4aa87f881e9bb9c2418760b5eaf4da547409b7e1acbd4705dd68a42337dd6645056f860929321aa254fcdb2c572b569",
    ],
  ])("of %j", (shape, expected) => expect(digest(makeKernel(shape))).toBe(expected));
});

describe("patchSetupHeader", () => {
  const shape = { initrdBytes: 3_693_521, memoryMib: 1024, cmdline: "console=ttyS0" };
  const field = (kernel: Uint8Array, offset: number): number => Buffer.from(kernel).readUInt32LE(offset);

  // Firmware started by QEMU 7.2 with these sizes measured a Debian kernel patched to these values.
  it.each([
    [1024, 0x3fc5_2000],
    [2048, 0x7fc5_2000],
    [4096, 0x7fc5_2000],
  ])("puts the initial RAM disk of a VM with %i MiB at %i", (memoryMib, address) => {
    const patched = patchSetupHeader(makeKernel(), { ...shape, memoryMib });
    expect(field(patched, 0x218)).toBe(address);
    expect(field(patched, 0x21c)).toBe(shape.initrdBytes);
  });

  it("leaves a byte between a RAM disk of whole pages and the ACPI tables", () => {
    const patched = patchSetupHeader(makeKernel(), { ...shape, initrdBytes: 0x10_0000 });
    expect(field(patched, 0x218)).toBe(0x4000_0000 - 0x2_8000 - 0x10_0000 - 0x1000);
  });

  it("changes loader, heap, command line and initial RAM disk, and nothing else", () => {
    const kernel = makeKernel();
    const patched = patchSetupHeader(kernel, shape);
    const expected = Buffer.from(kernel);
    expected[0x210] = 0xb0;
    expected[0x211] = 0x81;
    expected.writeUInt32LE(0x3fc5_2000, 0x218);
    expected.writeUInt32LE(shape.initrdBytes, 0x21c);
    expected.writeUInt16LE(0xfe00, 0x224);
    expected.writeUInt32LE(0x20000, 0x228);
    expect(Buffer.from(patched).equals(expected)).toBe(true);
  });

  it("heeds the highest address of a kernel that says it cannot be anywhere", () => {
    const patched = patchSetupHeader(makeKernel({ xLoadFlags: 0 }), { ...shape, memoryMib: 2815 });
    expect(field(patched, 0x218)).toBe(Math.floor((0x7fff_ffff - shape.initrdBytes) / 4096) * 4096);
  });

  it.each([
    ["an old protocol", makeKernel({ protocol: 0x20b }), shape],
    ["no bzImage", changed(0x202, 0), shape],
    ["a kernel for low memory", changed(0x211, 0), shape],
    ["a video mode", makeKernel(), { ...shape, cmdline: "vga=ask" }],
    ["a RAM disk larger than the memory", makeKernel(), { ...shape, initrdBytes: 2 ** 30 }],
    ["a few bytes", makeKernel().subarray(0, 0x200), shape],
  ])("refuses %s", (_name, kernel, options) =>
    expect(() => patchSetupHeader(kernel, options)).toThrow(InputError),
  );
});
