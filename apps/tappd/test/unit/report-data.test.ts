import { execFileSync } from "node:child_process";
import { hex, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { appReportData, paddedReportData } from "../../src/quote/report-data.js";

const padded = (digest: string): string => digest.padEnd(128, "0");
const data = utf8("data");

describe("report data", () => {
  it.each(["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"])(
    "%s over the app-data domain, as the openssl program has it",
    (algorithm) => {
      const output = execFileSync("openssl", ["dgst", `-${algorithm}`, "-r"], {
        input: "app-data:data",
      }).toString();
      expect(hex(appReportData(data, algorithm))).toBe(padded(output.split(" ")[0] ?? ""));
    },
  );

  // Computed over "app-data:data" with a Keccak written from FIPS 202 whose SHA-3 agreed with Python's hashlib.
  it.each([
    ["keccak256", "b6ce0eb13712198bf30d1234478954f254c28ce35d14f92688824a18b73c7eca"],
    [
      "keccak384",
      "cdb38f24b2d9a27cca305d11b611c9613be92bb10ad969f7c95fd62223507f7fcdf4d260b070e237f624775e169c1391",
    ],
    [
      "keccak512",
      "774ceca1dbd7e1275c16396be9a6457972532abcdae6b5875f411db041a4f0e202357a3efd559142a6ecd004424ff86af8b795eb9e5aeff8bc335690ad3f81fc",
    ],
  ])("%s is Keccak, not SHA-3", (algorithm, expected) => {
    expect(hex(appReportData(data, algorithm))).toBe(padded(expected));
  });

  it("is sha512 unless named", () => {
    expect(appReportData(data, "")).toEqual(appReportData(data, "sha512"));
  });

  it("raw takes exactly 64 bytes", () => {
    const exact = new Uint8Array(64).fill(5);
    expect(appReportData(exact, "raw")).toEqual(exact);
    for (const length of [0, 63, 65])
      expect(() => appReportData(new Uint8Array(length), "raw")).toThrow(/64 bytes/);
  });

  it.each(["SHA256", "md5", "sha3_256", "toString", "__proto__"])("refuses %s", (algorithm) => {
    expect(() => appReportData(data, algorithm)).toThrow(/unknown hash_algorithm/);
  });

  it("padded: on the right", () => {
    expect(hex(paddedReportData(Uint8Array.of(1)))).toBe(padded("01"));
    expect(() => paddedReportData(new Uint8Array(65))).toThrow(/at most 64/);
  });
});
