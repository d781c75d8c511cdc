import { InputError, hex, sha384 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { parseCcel } from "../../src/index.js";
import { memoryOfTdHob, tdHob } from "../../src/measurement/td-hob.js";
import { parseTdvf } from "../../src/measurement/tdvf.js";
import { haveVectors, vector } from "../support/vectors.js";
import { makeFirmware } from "./files.js";

const sections = parseTdvf(makeFirmware());

/** Type, start and length of each range of memory in a list. */
function ranges(list: Uint8Array): [number, number, number][] {
  const bytes = Buffer.from(list);
  return Array.from({ length: (bytes.length - 56) / 48 }, (_, i) => {
    const at = 56 + 48 * i;
    return [
      bytes.readUInt32LE(at + 24),
      Number(bytes.readBigUInt64LE(at + 32)),
      Number(bytes.readBigUInt64LE(at + 40)),
    ];
  });
}

describe("tdHob", () => {
  it("cuts the memory where the firmware's sections are, in order of address", () => {
    expect(ranges(tdHob(sections, 1024))).toEqual([
      [7, 0, 0x800000],
      [0, 0x800000, 0x6000],
      [7, 0x806000, 0x3000],
      [0, 0x809000, 0x2000],
      [0, 0x80b000, 0x2000],
      [7, 0x80d000, 0x4000],
      [0, 0x811000, 0xf000],
      [7, 0x820000, 0x4000_0000 - 0x820000],
    ]);
  });

  it("ends below 4 GiB at 2,815 MiB, and is split at 2 GiB from 2,816 MiB on", () => {
    expect(ranges(tdHob(sections, 2815)).at(-1)).toEqual([7, 0x820000, 0xaff0_0000 - 0x820000]);
    expect(ranges(tdHob(sections, 2816)).slice(-2)).toEqual([
      [7, 0x820000, 0x8000_0000 - 0x820000],
      [7, 2 ** 32, 0x3000_0000],
    ]);
    expect(ranges(tdHob(sections, 2048)).at(-1)).toEqual([7, 0x820000, 0x8000_0000 - 0x820000]);
  });

  it("says where the list ends: at its own address plus its length plus the end mark", () => {
    const list = tdHob(sections, 1024);
    expect(Number(Buffer.from(list).readBigUInt64LE(48))).toBe(0x809000 + list.length + 8);
  });

  it.each([0, 8, 0.5, -1, 2 ** 21, Number.NaN])("refuses %d MiB", (mib) => {
    expect(() => tdHob(sections, mib)).toThrow(InputError);
  });

  it.runIf(haveVectors)("gives the digest in the log of a TD on Intel hardware", () => {
    const [first] = parseCcel(vector("ccel.bin"));
    expect(hex(sha384(tdHob(sections, 1024)))).toBe(first?.digest);
  });
});

describe("memoryOfTdHob", () => {
  it.each([16, 1024, 2815, 2816, 16_383, 17_408, 1_048_576])("finds %i MiB", (mib) => {
    const wanted = tdHob(sections, mib);
    expect(memoryOfTdHob(sections, (list) => Buffer.from(wanted).equals(list))).toBe(mib);
  });

  it("gives up", () => expect(memoryOfTdHob(sections, () => false)).toBeUndefined());
});
