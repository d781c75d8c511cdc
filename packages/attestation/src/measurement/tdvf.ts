import { InputError, hex } from "@dstack/core";
import { ByteReader } from "../byte-reader.js";

/** Longest firmware file we read. OVMF has 2 or 4 MiB. */
export const MAX_FIRMWARE_BYTES = 64 * 1024 * 1024;
/** Most sections of one firmware. OVMF has six. */
const MAX_SECTIONS = 64;
/** Most memory that the sections add together; a TD's first pages come out of it, one hash each. */
const MAX_SECTION_BYTES = 256 * 1024 * 1024;

export const PAGE_BYTES = 4096;

/** What a section is (TDVF Design Guide, "TDVF Section Type"). */
export const SECTION = { bfv: 0, cfv: 1, tdHob: 2, tempMem: 3 } as const;
const MR_EXTEND = 1;

/** Memory that the TD has before its first instruction. */
export interface TdvfSection {
  readonly type: number;
  /** Guest-physical, page aligned. */
  readonly address: number;
  /** In bytes, whole pages. */
  readonly length: number;
  /** Its contents go into MRTD; otherwise only that the pages are there does. */
  readonly measured: boolean;
  /** The contents, for sections that come out of the file; the others are zero. */
  readonly data: Uint8Array | undefined;
}

/** 96b582de-1fb2-45f7-baea-a366c55a082d, the last entry of OVMF's table. */
const TABLE_FOOTER = "de82b596b21ff745baeaa366c55a082d";
/** e47a6535-984a-4798-865e-4685a7bf8ec2, the entry that says where the TDX metadata is. */
const METADATA_OFFSET = "35657ae44a989847865e4685a7bf8ec2";
/** What follows the table: the reset vector. */
const AFTER_TABLE = 32;
/** GUID and length that end every entry of the table. */
const ENTRY_TAIL = 16 + 2;

/**
 * The sections of a TDX firmware file, in the order in which they are measured, from its metadata (TDVF Design Guide
 * §11; QEMU reads them in `hw/i386/tdvf.c`). Refuses what QEMU refuses, and what QEMU versions treat in different ways.
 * @throws {InputError} not such a file
 */
export function parseTdvf(firmware: Uint8Array): TdvfSection[] {
  if (firmware.length > MAX_FIRMWARE_BYTES) throw malformed(`it is longer than ${MAX_FIRMWARE_BYTES} bytes`);
  const start = firmware.length - metadataOffset(firmware);
  if (start < 0) throw malformed("its metadata starts before the file");
  const reader = new ByteReader(firmware.subarray(start), malformed);
  if (hex(reader.bytes(4, "signature")) !== "54445646")
    throw malformed('its metadata does not start with "TDVF"');
  const length = reader.u32("metadata length");
  const version = reader.u32("metadata version");
  if (version !== 1) throw malformed(`its metadata has version ${version}, only 1 is known`);
  const count = reader.u32("number of sections");
  if (count > MAX_SECTIONS) throw malformed(`it has ${count} sections`);
  if (length !== 16 + 32 * count)
    throw malformed("the length of its metadata does not fit the number of sections");
  const sections = Array.from({ length: count }, () => readSection(reader, firmware));
  if (sections.reduce((sum, section) => sum + section.length, 0) > MAX_SECTION_BYTES) {
    throw malformed(`its sections have more than ${MAX_SECTION_BYTES} bytes`);
  }
  requireOne(sections, SECTION.cfv, "variable store (CFV)");
  requireOne(sections, SECTION.tdHob, "place for the TD HOB");
  return sections;
}

/** How far before the end of the file the metadata starts: the table is read from its end to its beginning. */
function metadataOffset(firmware: Uint8Array): number {
  const footer = firmware.length - AFTER_TABLE - ENTRY_TAIL;
  if (footer < 0) throw malformed("it is too short");
  if (hex(firmware.subarray(footer + 2, footer + ENTRY_TAIL)) !== TABLE_FOOTER) {
    throw malformed("it has no OVMF table at its end; is it an ovmf.fd that holds code and variables?");
  }
  const start = footer + ENTRY_TAIL - u16(firmware, footer);
  if (start < 0 || start > footer) throw malformed("its table has an impossible length");
  for (let end = footer; end > start;) {
    const tail = end - ENTRY_TAIL;
    if (tail < start) throw malformed("its table has an entry that is too short");
    const length = u16(firmware, tail);
    if (length < ENTRY_TAIL || end - length < start)
      throw malformed("its table has an entry of impossible length");
    if (hex(firmware.subarray(tail + 2, end)) === METADATA_OFFSET) {
      return new ByteReader(firmware.subarray(end - length, tail), malformed).u32("offset of the metadata");
    }
    end -= length;
  }
  throw malformed("its table says nothing about TDX; Debian's package ovmf has one that does, OVMF.fd");
}

function readSection(reader: ByteReader, firmware: Uint8Array): TdvfSection {
  const offset = reader.u32("offset of a section");
  const size = reader.u32("size of a section");
  const address = u64(reader, "address of a section");
  const length = u64(reader, "memory size of a section");
  const type = reader.u32("type of a section");
  const attributes = reader.u32("attributes of a section");
  if (address % PAGE_BYTES !== 0 || length % PAGE_BYTES !== 0)
    throw malformed("a section is not made of whole pages");
  if ((attributes & ~MR_EXTEND) !== 0)
    throw malformed(`a section has attributes ${attributes}, only 1 is known`);
  const section = { type, address, length, measured: attributes === MR_EXTEND };
  switch (type) {
    case SECTION.bfv:
    case SECTION.cfv:
      // QEMU takes the pages behind a shorter content from what follows in the file: nobody builds such a file.
      if (size === 0 || size !== length) throw malformed("a section in the file has another size in memory");
      if (offset + size > firmware.length) throw malformed("a section reaches past the end of the file");
      return { ...section, data: firmware.subarray(offset, offset + size) };
    case SECTION.tdHob:
    case SECTION.tempMem:
      if (size !== 0) throw malformed("a section of empty memory has contents");
      if (section.measured) throw malformed("a section of empty memory is measured");
      return { ...section, data: undefined };
    default:
      throw malformed(`a section has type ${type}, only 0 to 3 are known`);
  }
}

function requireOne(sections: readonly TdvfSection[], type: number, what: string): void {
  const count = sections.filter((section) => section.type === type).length;
  if (count !== 1) throw malformed(`it has ${count} sections for a ${what}, one is needed`);
}

function u16(bytes: Uint8Array, offset: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint16(offset, true);
}

/** Addresses and sizes of guests stay far below 2^53; what does not is refused by what bounds them. */
function u64(reader: ByteReader, what: string): number {
  const low = reader.u32(what);
  const high = reader.u32(what);
  if (high >= 2 ** 20) throw malformed(`the ${what} is beyond any guest's memory`);
  return high * 2 ** 32 + low;
}

function malformed(message: string): InputError {
  return new InputError(`the firmware cannot start a TD: ${message}`);
}
