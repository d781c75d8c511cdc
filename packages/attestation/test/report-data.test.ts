import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { freshReportData } from "../src/index.js";

const challenge = new Uint8Array(32).fill(1);
const exporter = new Uint8Array(32).fill(2);
const spki = new Uint8Array(91).fill(3);
const binding = { challenge, exporter, spki };

describe("freshReportData. FROZEN: KMS and guests are of different ages", () => {
  it("is SHA-512 over the purpose and each part after its length", () => {
    const text = [
      Buffer.from("kms-challenge:"),
      Buffer.from([0, 0, 0, 32]),
      challenge,
      Buffer.from([0, 0, 0, 32]),
      exporter,
      Buffer.from([0, 0, 0, 91]),
      spki,
    ];
    const expected = createHash("sha512").update(Buffer.concat(text)).digest();
    expect(Buffer.from(freshReportData("kms-challenge", binding))).toEqual(expected);
  });

  it("E13: differs by purpose, challenge, connection and client key, and where bytes move between them", () => {
    const others = [
      freshReportData("kms-onboard", binding),
      freshReportData("kms-challenge", { ...binding, challenge: exporter }),
      freshReportData("kms-challenge", { ...binding, exporter: challenge }),
      freshReportData("kms-challenge", { ...binding, spki: spki.map((byte) => byte ^ 1) }),
      freshReportData("kms-challenge", {
        challenge: new Uint8Array([...challenge, 2]),
        exporter: new Uint8Array([...exporter.subarray(1), 3]),
        spki: spki.subarray(1),
      }),
    ].map((bytes) => Buffer.from(bytes).toString("hex"));
    others.push(Buffer.from(freshReportData("kms-challenge", binding)).toString("hex"));
    expect(new Set(others).size).toBe(6);
  });

  it("refuses values that could be guessed", () => {
    for (const short of [{ challenge: challenge.subarray(1) }, { exporter: new Uint8Array(0) }]) {
      expect(() => freshReportData("kms-challenge", { ...binding, ...short })).toThrow(/at least 32/);
    }
  });
});
