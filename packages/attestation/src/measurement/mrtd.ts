import { createHash } from "node:crypto";
import { PAGE_BYTES } from "./tdvf.js";
import type { TdvfSection } from "./tdvf.js";

/**
 * How the host adds a section: each page and its contents together (Linux since TDX is in mainline, QEMU 9 and later),
 * or first all pages, then all contents (the vendors' host kernels for QEMU 8).
 */
export type PageOrder = "page-by-page" | "pages-then-contents";

/** Bytes one TDH.MR.EXTEND measures. */
const CHUNK_BYTES = 256;
/** Every TDH operation is measured as a block of this size: a name, zeros, and the address at byte 16. */
const BLOCK_BYTES = 128;

/**
 * MRTD, 48 bytes: the SHA-384 over what the host did to make the TD (TDX Module Base Spec, "MRTD: Build-Time
 * Measurement"): for each page `MEM.PAGE.ADD` with its address, for each 256 bytes of measured contents `MR.EXTEND` with
 * the address and the bytes.
 */
export function mrtd(sections: readonly TdvfSection[], order: PageOrder): Uint8Array {
  const hash = createHash("sha384");
  const add = (section: TdvfSection, offset: number): void => {
    hash.update(block("MEM.PAGE.ADD", section.address + offset));
  };
  const extend = ({ address, data, measured }: TdvfSection, page: number): void => {
    if (!measured || data === undefined) return;
    for (let offset = page; offset < page + PAGE_BYTES; offset += CHUNK_BYTES) {
      hash.update(block("MR.EXTEND", address + offset));
      hash.update(data.subarray(offset, offset + CHUNK_BYTES));
    }
  };
  for (const section of sections) {
    const pages = Array.from({ length: section.length / PAGE_BYTES }, (_, i) => i * PAGE_BYTES);
    if (order === "page-by-page") {
      for (const page of pages) {
        add(section, page);
        extend(section, page);
      }
    } else {
      for (const page of pages) add(section, page);
      for (const page of pages) extend(section, page);
    }
  }
  return new Uint8Array(hash.digest());
}

function block(operation: string, address: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_BYTES);
  bytes.write(operation, "ascii");
  bytes.writeBigUInt64LE(BigInt(address), 16);
  return bytes;
}
