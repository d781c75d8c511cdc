import { InputError } from "@dstack/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { mrtd } from "../../src/measurement/mrtd.js";
import { parseTdvf } from "../../src/measurement/tdvf.js";
import { makeFirmware, noise, ovmfSections } from "./files.js";
import type { RawSection } from "./files.js";

const variables = noise(8192, 1);
const code = 16_384;
const sections = ovmfSections(variables.length, code);
/** A firmware with one section changed. */
const withSection = (index: number, change: Partial<RawSection>): Uint8Array =>
  makeFirmware(
    variables,
    code,
    sections.map((section, i) => (i === index ? { ...section, ...change } : section)),
  );

describe("parseTdvf", () => {
  it("reads the sections in the order of the metadata", () => {
    const firmware = makeFirmware(variables, code);
    const parsed = parseTdvf(firmware);
    expect(
      parsed.map(({ type, address, length, measured }) => ({ type, address, length, measured })),
    ).toEqual(
      sections.map(({ type, address, length, attributes }) => ({
        type,
        address,
        length,
        measured: attributes === 1,
      })),
    );
    expect(parsed[0]?.data).toEqual(firmware.subarray(8192));
    expect(parsed[1]?.data).toEqual(variables);
    expect(parsed[2]?.data).toBeUndefined();
  });

  it.each([
    ["a version from the future", makeFirmware(variables, code, sections, { version: 2 }), /version 2/],
    ["a length that lies", makeFirmware(variables, code, sections, { metadataLength: 16 }), /length/],
    ["a count that lies", makeFirmware(variables, code, sections, { count: 7 }), /length/],
    ["4,294,967,295 sections", makeFirmware(variables, code, sections, { count: 0xffffffff }), /4294967295/],
    ["half a page", withSection(2, { length: 0x800 }), /whole pages/],
    ["an address inside a page", withSection(2, { address: 0x811001 }), /whole pages/],
    ["an attribute it does not know", withSection(0, { attributes: 3 }), /attributes 3/],
    ["a type it does not know", withSection(2, { type: 4 }), /type 4/],
    ["contents past the end", withSection(0, { offset: 16_384 }), /past the end/],
    ["less contents than memory", withSection(0, { size: 4096 }), /another size/],
    ["contents of empty memory", withSection(2, { size: 1 }), /contents/],
    ["empty memory that is measured", withSection(2, { attributes: 1 }), /measured/],
    ["2^63 bytes of memory", withSection(2, { length: 2 ** 63 }), /memory/],
    ["512 MiB of memory", withSection(2, { length: 2 ** 29 }), /268435456/],
    ["no TD HOB", withSection(4, { type: 3 }), /TD HOB/],
    ["two TD HOBs", withSection(3, { type: 2 }), /TD HOB/],
    ["no file", new Uint8Array(), /too short/],
    ["code without variables and table", noise(4096, 5), /no OVMF table/],
  ])("refuses %s", (_name, firmware, message) => {
    expect(() => parseTdvf(firmware)).toThrow(InputError);
    expect(() => parseTdvf(firmware)).toThrow(message);
  });

  it("refuses a table without a TDX entry, with empty entries and of impossible length", () => {
    const end = makeFirmware().length - 32 - 18;
    const changed = (offset: number, ...bytes: number[]): Uint8Array => {
      const firmware = makeFirmware();
      firmware.set(bytes, offset);
      return firmware;
    };
    expect(() => parseTdvf(changed(end - 1, 0))).toThrow(/says nothing about TDX/);
    expect(() => parseTdvf(changed(end - 18, 0, 0, 0))).toThrow(/impossible length/);
    expect(() => parseTdvf(changed(end, 17, 0))).toThrow(/impossible length/);
    expect(() => parseTdvf(changed(end, 255, 255))).toThrow(/impossible length/);
  });

  it("answers or refuses with a sentence, whatever the bytes", () => {
    const firmware = makeFirmware();
    const tail = 400;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(tail - 1), fc.nat(255)), { minLength: 1, maxLength: 8 }),
        (edits) => {
          const edited = new Uint8Array(firmware);
          for (const [back, value] of edits) edited[edited.length - 1 - back] = value;
          let parsed;
          try {
            parsed = parseTdvf(edited);
          } catch (err) {
            return err instanceof InputError;
          }
          return mrtd(parsed, "page-by-page").length === 48;
        },
      ),
      { numRuns: 500 },
    );
  });
});
