import { concatBytes, fromHex, hex, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { DerReader, Tag, utcSeconds } from "../src/der.js";
import { codeOf } from "./support/platform.js";

const reader = (text: string): DerReader => new DerReader(fromHex(text), "test");
const refused = (run: () => unknown): boolean => codeOf(run) === "certificate_malformed";
const zeros = (count: number): string => "00".repeat(count);

describe("E11: DER", () => {
  it("refuses what follows the last element, and an element that is not there", () => {
    const two = reader("02010a02010b");
    expect([two.smallInteger(255), two.done]).toEqual([10, false]);
    expect(refused(() => two.expectEnd())).toBe(true);
    expect([two.smallInteger(255), two.done]).toEqual([11, true]);
    expect(codeOf(() => two.expectEnd())).toBe("accepted");
    expect(refused(() => two.content("integer"))).toBe(true);
    expect(refused(() => reader("02010a").content("octetString"))).toBe(true);
  });

  it.each([
    ["a short length", `047f${zeros(127)}`, 127],
    ["the least long one", `048180${zeros(128)}`, 128],
    ["two digits", `04820100${zeros(256)}`, 256],
    ["three digits", `0483010000${zeros(65_536)}`, 65_536],
  ])("reads %s", (_, text, length) => expect(reader(text).content("octetString")).toHaveLength(length));

  it.each([
    ["no length", "04"],
    ["an indefinite length", `0480${zeros(200)}`],
    ["a long form for what is short", `04817f${zeros(127)}`],
    ["a leading zero", `04820080${zeros(128)}`],
    ["cut digits", "0482ff"],
    ["digits that reach past the end", `0484ffffffff${zeros(16)}`],
    ["zeros for digits", "0485000000000100"],
    ["more digits than any length has", `04ff${"ff".repeat(127)}${zeros(16)}`],
    ["content cut off", "0401"],
    ["another tag", "0501"],
    ["no element", ""],
  ])("refuses %s", (_, text) => expect(refused(() => reader(text).content("octetString"))).toBe(true));

  it.each([
    ["020100", "00"],
    ["02017f", "7f"],
    ["02020080", "80"],
    ["020500ffffffff", "ffffffff"],
  ])("reads the integer %s", (text, value) => expect(hex(reader(text).unsigned())).toBe(value));

  it.each([["0200"], ["020180"], ["0201ff"], ["0202007f"], ["02020000"]])("refuses the integer %s", (text) =>
    expect(refused(() => reader(text).unsigned())).toBe(true),
  );

  it("refuses integers above what is asked for", () => {
    expect(reader("0204010000ff").smallInteger(0xffffffff)).toBe(0x010000ff);
    expect(reader("02017e").smallInteger(0x7e)).toBe(0x7e);
    expect(refused(() => reader("02017f").smallInteger(0x7e))).toBe(true);
    expect(refused(() => reader("02050100000000").smallInteger(0xffffffff))).toBe(true);
  });

  it("refuses booleans that are false or of several bytes, and bit strings with spare bits", () => {
    expect(reader("0101ff").defaultFalse()).toBe(true);
    expect(reader("0400").defaultFalse()).toBe(false);
    for (const text of ["010100", "010101", "0102ffff", "0100"]) {
      expect(refused(() => reader(text).defaultFalse())).toBe(true);
    }
    expect(hex(reader("03020080").wholeBytes())).toBe("80");
    for (const text of ["03020780", "0300"]) expect(refused(() => reader(text).wholeBytes())).toBe(true);
  });
});

describe("E11: times", () => {
  const time = (tag: "utcTime" | "generalizedTime", text: string): number =>
    new DerReader(concatBytes(Uint8Array.of(Tag[tag], text.length), utf8(text)), "test").time();
  const at = (text: string): number => Date.parse(text) / 1000;

  it("reads both forms", () => {
    expect(time("utcTime", "260131120506Z")).toBe(at("2026-01-31T12:05:06Z"));
    expect(time("utcTime", "491231235959Z")).toBe(at("2049-12-31T23:59:59Z"));
    expect(time("utcTime", "500101000000Z")).toBe(at("1950-01-01T00:00:00Z"));
    expect(time("generalizedTime", "20500101000000Z")).toBe(at("2050-01-01T00:00:00Z"));
    expect(time("generalizedTime", "20240229000000Z")).toBe(at("2024-02-29T00:00:00Z"));
  });

  it.each([
    "20260131120506",
    "20260131120506Z ",
    " 20260131120506Z",
    "20260131120506.5Z",
    "20260131120506+0000",
    "2026-01-31T12:05:06Z",
    "20261301000000Z",
    "20260001000000Z",
    "20260132000000Z",
    "20260230000000Z",
    "20260100000000Z",
    "20260131240000Z",
    "20260131126000Z",
    "20260131120060Z",
    "202601311200Z",
    "",
  ])("refuses %j", (text) => expect(refused(() => time("generalizedTime", text))).toBe(true));

  it("reads the form of Intel's documents, and no other", () => {
    expect(utcSeconds("2026-01-31T12:05:06Z")).toBe(at("2026-01-31T12:05:06Z"));
    for (const text of [
      "2026-01-31T12:05:06.000Z",
      "2026-01-31T12:05:06",
      "2026-01-31T12:05:06+00:00",
      "2026-01-31 12:05:06Z",
      "2026-01-31",
      "2026-02-30T00:00:00Z",
      "2026-01-31T24:00:00Z",
      " 2026-01-31T12:05:06Z",
      "31 Jan 2026 12:05:06 Z",
      "",
    ]) {
      expect(utcSeconds(text), text).toBeNaN();
    }
  });
});
