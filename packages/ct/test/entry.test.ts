import { concatBytes, hex, utf8 } from "@dstack/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_ENTRY_BYTES, parseEntry } from "../src/entry.js";

const uint = (value: number, bytes: number): Uint8Array => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
};
const der = utf8("certificate");
const head = concatBytes(Uint8Array.of(0, 0), uint(0, 2), uint(1_763_800_000_000, 6));
const body = concatBytes(uint(der.length, 3), der, uint(0, 2));
const x509 = concatBytes(head, uint(0, 2), body);
const precert = concatBytes(head, uint(1, 2), new Uint8Array(32), body);

describe("parseEntry", () => {
  it("reads certificates and precertificates (RFC 6962 §3.4)", () => {
    expect(parseEntry(x509)).toEqual({ timestamp: 1_763_800_000_000, kind: "x509", der });
    expect(parseEntry(precert)).toEqual({ timestamp: 1_763_800_000_000, kind: "precert", der });
    const extended = concatBytes(x509.subarray(0, -2), uint(3, 2), utf8("ext"));
    expect(parseEntry(extended).kind).toBe("x509");
  });

  it.each([
    ["another version", concatBytes(Uint8Array.of(1), x509.subarray(1))],
    ["another kind of leaf", concatBytes(Uint8Array.of(0, 1), x509.subarray(2))],
    ["another kind of entry", concatBytes(head, uint(2, 2), body)],
    ["bytes after its end", concatBytes(x509, Uint8Array.of(0))],
    ["a length past its end", concatBytes(head, uint(0, 2), uint(0xffffff, 3), der)],
    ["too much", new Uint8Array(MAX_ENTRY_BYTES + 1)],
  ])("refuses %s", (_, bytes) => {
    expect(() => parseEntry(bytes)).toThrow(/log entry/);
  });

  it("refuses every truncation, and survives anything", () => {
    for (const whole of [x509, precert]) {
      for (let length = 0; length < whole.length; length += 1) {
        expect(() => parseEntry(whole.subarray(0, length)), hex(whole.subarray(0, length))).toThrow(
          /log entry/,
        );
      }
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        try {
          parseEntry(bytes);
        } catch (err) {
          expect(err).toMatchObject({ name: "InputError" });
        }
      }),
    );
  });
});
