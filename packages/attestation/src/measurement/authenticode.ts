import { InputError, sha384 } from "@dstack/core";
import { ByteReader } from "../byte-reader.js";

/** Longest kernel image we read. Debian's has 12 MiB. */
export const MAX_KERNEL_BYTES = 256 * 1024 * 1024;
/** Most sections; the PE loader of Windows takes 96, a kernel has four. */
const MAX_SECTIONS = 96;

const PE32 = 0x10b;
const PE32_PLUS = 0x20b;
const CHECKSUM_OFFSET = 64;
const SIZE_OF_HEADERS_OFFSET = 60;
/** The directory entry that points at the image's signatures. */
const SECURITY_DIRECTORY = 4;

/**
 * The digest that firmware measures and signs an EFI program by, 48 bytes: SHA-384 over the file without its checksum,
 * without the entry for its signatures and without these (Windows Authenticode Portable Executable Signature Format,
 * "Calculating the PE Image Hash"; edk2 `MeasurePeImageAndExtend`).
 *
 * Headers, sections, other data and signatures must follow one another without gap or overlap, as in every Linux
 * kernel: implementations differ about the rest.
 * @throws {InputError} another file
 */
export function authenticodeSha384(image: Uint8Array): Uint8Array {
  if (image.length > MAX_KERNEL_BYTES) throw malformed(`it is longer than ${MAX_KERNEL_BYTES} bytes`);
  const at = (offset: number): ByteReader =>
    new ByteReader(image.subarray(Math.min(offset, image.length)), malformed);
  const pe = at(0x3c).u32("offset of the PE header");
  if (at(pe).u32("PE signature") !== 0x4550)
    throw malformed("it has no PE header; was it built without CONFIG_EFI_STUB?");
  const sectionCount = at(pe + 6).u16("number of sections");
  if (sectionCount > MAX_SECTIONS) throw malformed(`it has ${sectionCount} sections`);
  const optionalSize = at(pe + 20).u16("size of the optional header");
  const optional = pe + 24;
  const magic = at(optional).u16("optional header");
  if (magic !== PE32 && magic !== PE32_PLUS) throw malformed("its optional header is neither PE32 nor PE32+");

  const directories = optional + (magic === PE32_PLUS ? 112 : 96);
  if (at(directories - 4).u32("number of directories") <= SECURITY_DIRECTORY) {
    throw malformed("its header has no room for signatures");
  }
  const security = directories + 8 * SECURITY_DIRECTORY;
  const headers = at(optional + SIZE_OF_HEADERS_OFFSET).u32("size of the headers");
  const table = optional + optionalSize;
  if (table < security + 8 || headers < table + 40 * sectionCount || headers > image.length) {
    throw malformed("its headers do not fit the size they say they have");
  }
  const sectionsEnd = requireContiguous(at(table), sectionCount, headers, image.length);

  const entry = at(security);
  const signatures = entry.u32("offset of the signatures");
  const signaturesSize = entry.u32("size of the signatures");
  const signed = signaturesSize === 0 ? image.length : signatures;
  if (signed + signaturesSize !== image.length || signed < sectionsEnd) {
    throw malformed("its signatures are not what it ends with");
  }
  return sha384(
    image.subarray(0, optional + CHECKSUM_OFFSET),
    image.subarray(optional + CHECKSUM_OFFSET + 4, security),
    image.subarray(security + 8, signed),
  );
}

/** @returns where the last section ends */
function requireContiguous(table: ByteReader, count: number, start: number, fileLength: number): number {
  const sections = Array.from({ length: count }, () => {
    table.bytes(16, "section");
    const size = table.u32("size of a section");
    const offset = table.u32("offset of a section");
    table.bytes(16, "section");
    return { offset, size };
  });
  let end = start;
  for (const { offset, size } of sections.filter((s) => s.size > 0).toSorted((a, b) => a.offset - b.offset)) {
    if (offset !== end) throw malformed("its sections do not follow one another");
    end += size;
  }
  if (end > fileLength) throw malformed("its sections reach past the end of the file");
  return end;
}

function malformed(message: string): InputError {
  return new InputError(`the kernel is no EFI program: ${message}`);
}
