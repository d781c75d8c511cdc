import { expect, it } from "vitest";
import { attributeMask, describeAttributes, readBits } from "../src/td-attributes.js";

it("names the bits that are set, and numbers those that have no name", () => {
  const bits = readBits(Uint8Array.of(1, 0, 0, 0x10, 0, 0, 0, 0xc0));
  expect(bits).toBe((1n << 0n) | (1n << 28n) | (1n << 62n) | (1n << 63n));
  expect(describeAttributes(bits)).toBe("DEBUG, SEPT_VE_DISABLE, bit 62, PERFMON");
  expect(describeAttributes(0n)).toBe("none");
  expect(attributeMask(["DEBUG", "PERFMON"])).toBe(1n | (1n << 63n));
  expect(attributeMask([])).toBe(0n);
});
