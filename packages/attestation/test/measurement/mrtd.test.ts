import { concatBytes, hex, sha384 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { mrtd } from "../../src/measurement/mrtd.js";
import { parseTdvf } from "../../src/measurement/tdvf.js";
import { makeFirmware } from "./files.js";

const sections = parseTdvf(makeFirmware());

function block(name: string, address: number): Uint8Array {
  const bytes = new Uint8Array(128);
  bytes.set(Buffer.from(name));
  new DataView(bytes.buffer).setBigUint64(16, BigInt(address), true);
  return bytes;
}

describe("mrtd", () => {
  it("measures each page, and each 256 bytes of measured contents behind their page", () => {
    const data = new Uint8Array(4096).fill(7);
    const pages = [
      { type: 0, address: 0xfffff000, length: 4096, measured: true, data },
      { type: 3, address: 0x800000, length: 8192, measured: false, data: undefined },
    ];
    const extends16 = Array.from({ length: 16 }, (_, i) =>
      concatBytes(block("MR.EXTEND", 0xfffff000 + 256 * i), data.subarray(0, 256)),
    );
    const adds = [0xfffff000, 0x800000, 0x801000].map((address) => block("MEM.PAGE.ADD", address));
    const stream = concatBytes(adds[0] ?? data, ...extends16, ...adds.slice(1));
    expect(mrtd(pages, "page-by-page")).toEqual(sha384(stream));
    // One page of contents: the orders are the same.
    expect(mrtd(pages, "pages-then-contents")).toEqual(sha384(stream));
  });

  // From a second implementation in Python, over the same bytes.
  it("FROZEN: gives these values", () => {
    expect([hex(mrtd(sections, "page-by-page")), hex(mrtd(sections, "pages-then-contents"))]).toEqual([
      "f05a3ba73560a0abe4a0d66e95db4f12fc455b37d1fb17dbb8b62d819b23be9fe93f31a0e2ec589ac56408d3fb934133",
      "04131f3100d9273536954b629158ec5f71b285490d8f3c4ba8b8b6113e00ce5f0996a77698fc0843ca00b52147899fca",
    ]);
  });

  it("does not depend on contents that are not measured, and on all others", () => {
    const changed = (offset: number): string => {
      const firmware = makeFirmware();
      firmware[offset] = (firmware[offset] ?? 0) ^ 1;
      return hex(mrtd(parseTdvf(firmware), "page-by-page"));
    };
    const before = hex(mrtd(sections, "page-by-page"));
    expect(changed(100)).toBe(before);
    expect(changed(8192)).not.toBe(before);
    expect(changed(24_575)).not.toBe(before);
  });
});
