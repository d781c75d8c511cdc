import { concatBytes, hex, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { MAX_CCEL_BYTES, parseCcel } from "../src/ccel.js";
import { u32 } from "./support/edit-quote.js";
import { codeOf } from "./support/platform.js";

const SHA256 = 0x0b;
const SHA384 = 0x0c;
const u16 = (value: number): Uint8Array => u32(value).subarray(0, 2);
type Digest = readonly [algorithm: number, value: Uint8Array];
const sha384: Digest = [SHA384, new Uint8Array(48).fill(3)];
const sha256: Digest = [SHA256, new Uint8Array(32).fill(2)];
const END = u32(0xffffffff);

/** The first record, which declares algorithms and the sizes of their digests. */
function head(...algorithms: (readonly [algorithm: number, size: number])[]): Uint8Array {
  const spec = concatBytes(
    utf8("Spec ID Event03\0"),
    new Uint8Array(8),
    u32(algorithms.length),
    ...algorithms.flatMap(([algorithm, size]) => [u16(algorithm), u16(size)]),
    Uint8Array.of(2, 7, 7),
  );
  return concatBytes(u32(1), u32(3), new Uint8Array(20), u32(spec.length), spec);
}
function record(index: number, ...digests: Digest[]): Uint8Array {
  const encoded = digests.flatMap(([algorithm, value]) => [u16(algorithm), value]);
  return concatBytes(u32(index), u32(4), u32(digests.length), ...encoded, u32(1), Uint8Array.of(9));
}
const BOTH = head([SHA256, 32], [SHA384, 48]);
const verdict = (...parts: Uint8Array[]): string => codeOf(() => parseCcel(concatBytes(...parts)));

describe("parseCcel", () => {
  it("takes the SHA-384 digest out of several, in any order", () => {
    const entry = { event_type: 4, digest: hex(sha384[1]), event: "", event_payload: "09" };
    expect(parseCcel(concatBytes(BOTH, record(1, sha256, sha384), record(4, sha384, sha256), END))).toEqual([
      { ...entry, imr: 0 },
      { ...entry, imr: 3 },
    ]);
    expect(parseCcel(concatBytes(head([SHA384, 48]), record(2, sha384)))).toEqual([{ ...entry, imr: 1 }]);
  });

  it.each<[string, Uint8Array[]]>([
    ["a register that is none", [BOTH, record(5, sha384)]],
    ["an algorithm that was not declared", [head([SHA384, 48]), record(1, sha256)]],
    ["more digests than algorithms", [BOTH, record(1, sha256, sha256, sha384)]],
    ["two SHA-384 digests", [BOTH, record(1, sha384, sha384)]],
    ["no SHA-384 digest", [BOTH, record(1, sha256)]],
    ["no digest", [BOTH, record(1)]],
    ["no algorithms", [head()]],
    ["no SHA-384 among the algorithms", [head([SHA256, 32])]],
    ["a SHA-384 of another size", [head([SHA384, 32])]],
    ["nine algorithms", [head(...Array.from({ length: 9 }, () => [SHA384, 48] as const))]],
    ["data behind the end", [BOTH, END, Uint8Array.of(0)]],
    ["data among the zeros", [BOTH, u32(0), Uint8Array.of(0, 1)]],
    ["half an index", [BOTH, Uint8Array.of(0xff, 0xff, 0xff)]],
  ])("E11: refuses %s", (_, parts) => expect(verdict(...parts)).toBe("event_log_malformed"));

  it("takes eight algorithms, an end without fill, and an area as long as any", () => {
    expect(verdict(head(...Array.from({ length: 8 }, () => [SHA384, 48] as const)))).toBe("accepted");
    expect(verdict(BOTH, END)).toBe("accepted");
    expect(verdict(BOTH, END, Uint8Array.of(0xff))).toBe("accepted");
    expect(verdict(BOTH, new Uint8Array(MAX_CCEL_BYTES - BOTH.length))).toBe("accepted");
    expect(() => parseCcel(new Uint8Array(MAX_CCEL_BYTES + 1))).toThrow("longer than");
  });
});
