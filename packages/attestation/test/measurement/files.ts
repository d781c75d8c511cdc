import { concatBytes } from "@dstack/core";

/** A section of firmware metadata as the file has it. */
export interface RawSection {
  offset: number;
  size: number;
  address: number;
  length: number;
  type: number;
  attributes: number;
}

const FOOTER = Buffer.from("de82b596b21ff745baeaa366c55a082d", "hex");
const METADATA = Buffer.from("35657ae44a989847865e4685a7bf8ec2", "hex");

/** The memory sections of OVMF, which are the same in all its builds. */
export const OVMF_MEMORY: readonly RawSection[] = [
  { offset: 0, size: 0, address: 0x811000, length: 0xf000, type: 3, attributes: 0 },
  { offset: 0, size: 0, address: 0x80b000, length: 0x2000, type: 3, attributes: 0 },
  { offset: 0, size: 0, address: 0x809000, length: 0x2000, type: 2, attributes: 0 },
  { offset: 0, size: 0, address: 0x800000, length: 0x6000, type: 3, attributes: 0 },
];

/** Code and variables of a firmware that is as long as both, in the order of OVMF's file and of its metadata. */
export function ovmfSections(variableBytes: number, codeBytes: number): RawSection[] {
  const start = 2 ** 32 - variableBytes - codeBytes;
  const code = { offset: variableBytes, size: codeBytes, address: start + variableBytes, length: codeBytes };
  return [
    { ...code, type: 0, attributes: 1 },
    { offset: 0, size: variableBytes, address: start, length: variableBytes, type: 1, attributes: 0 },
    ...OVMF_MEMORY,
  ];
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32LE(value, 4 * i));
  return bytes;
}

/** Bytes that look random and are not. */
export function noise(length: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 24;
  });
}

/** A firmware file: variables, then code that ends with metadata, table and 32 bytes of reset vector. */
export function makeFirmware(
  variables: Uint8Array = noise(8192, 1),
  codeBytes = 16_384,
  sections: readonly RawSection[] = ovmfSections(variables.length, codeBytes),
  changes: { version?: number; metadataLength?: number; count?: number } = {},
): Uint8Array {
  const metadata = concatBytes(
    Buffer.from("TDVF"),
    u32(
      changes.metadataLength ?? 16 + 32 * sections.length,
      changes.version ?? 1,
      changes.count ?? sections.length,
    ),
    ...sections.map((s) =>
      concatBytes(
        u32(s.offset, s.size),
        u32(s.address % 2 ** 32, Math.floor(s.address / 2 ** 32)),
        u32(s.length % 2 ** 32, Math.floor(s.length / 2 ** 32)),
        u32(s.type, s.attributes),
      ),
    ),
  );
  // From the end: reset vector, footer, an entry of 4 bytes that says where the metadata is.
  const entry = 4 + 18;
  const offset = 32 + 18 + entry + metadata.length;
  const end = concatBytes(
    metadata,
    ...[u32(offset), u16(entry), METADATA],
    ...[u16(entry + 18), FOOTER],
    new Uint8Array(32),
  );
  return concatBytes(variables, noise(codeBytes - end.length, 2), end);
}

export interface KernelShape {
  /** Bytes behind the last section that are no signature. */
  trailing?: number;
  signature?: number;
  xLoadFlags?: number;
  protocol?: number;
}

/** Offsets in a kernel of {@link makeKernel}. */
export const KERNEL = {
  pe: 0x40,
  optional: 0x58,
  checksum: 0x98,
  security: 0xe8,
  table: 0x400,
  sections: 0x1000,
};

/** A kernel image: setup header of the Linux boot protocol inside a PE32+ file of two sections. */
export function makeKernel(shape: KernelShape = {}): Uint8Array {
  const { trailing = 0, signature = 0, xLoadFlags = 0x7f, protocol = 0x20f } = shape;
  const bodyEnd = KERNEL.sections + 0x3000 + trailing;
  const image = Buffer.from(noise(bodyEnd + signature, 3));
  image.writeUInt32LE(KERNEL.pe, 0x3c);
  image.write("PE\0\0", KERNEL.pe, "latin1");
  image.writeUInt16LE(2, KERNEL.pe + 6);
  image.writeUInt16LE(KERNEL.table - KERNEL.optional, KERNEL.pe + 20);
  image.writeUInt16LE(0x20b, KERNEL.optional);
  image.writeUInt32LE(KERNEL.sections, KERNEL.optional + 60);
  image.writeUInt32LE(6, KERNEL.optional + 108);
  image.writeUInt32LE(signature === 0 ? 0 : bodyEnd, KERNEL.security);
  image.writeUInt32LE(signature, KERNEL.security + 4);
  // The table need not be in the order of the file.
  for (const [i, [offset, size]] of [
    [KERNEL.sections + 0x1000, 0x2000] as const,
    [KERNEL.sections, 0x1000] as const,
  ].entries()) {
    image.writeUInt32LE(size, KERNEL.table + 40 * i + 16);
    image.writeUInt32LE(offset, KERNEL.table + 40 * i + 20);
  }
  image.write("HdrS", 0x202, "latin1");
  image.writeUInt16LE(protocol, 0x206);
  image[0x211] = 0x01;
  image.writeUInt32LE(0x7fff_ffff, 0x22c);
  image.writeUInt16LE(xLoadFlags, 0x236);
  return new Uint8Array(image);
}
