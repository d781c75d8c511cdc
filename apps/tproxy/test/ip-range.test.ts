import { describe, expect, it } from "vitest";
import { AddressBlock } from "../src/registry/address-block.js";
import {
  canonicalIp,
  hostCidr,
  ipToNumber,
  numberToIp,
  parseIpRange,
  rangeContains,
  rangesOverlap,
} from "../src/registry/ip-range.js";

const pickAll = (block: AddressBlock, most = 100): string[] => {
  const taken = new Set<string>();
  while (taken.size < most) {
    const address = block.pick((candidate) => !taken.has(candidate));
    if (address === undefined) break;
    taken.add(address);
  }
  return [...taken];
};

describe("addresses", () => {
  it.each([
    ["10.0.3.1", "10.0.3.1"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["FD00:0:0::1", "fd00::1"],
    ["fd00:1:0:0:2:0:0:3", "fd00:1::2:0:0:3"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
  ])("%s is written %s", (text, expected) => {
    expect(canonicalIp(text)).toBe(expected);
    expect(numberToIp(ipToNumber(text), text.includes(":") ? 6 : 4)).toBe(expected);
  });

  it.each(["", "10.0.3", "fd00::1%eth0", "10.0.3.1/24", ":::", "g::"])("%j is none", (text) => {
    expect(() => ipToNumber(text)).toThrow("is not an IP address");
  });

  it("G5: an address alone is a /32 or a /128", () => {
    expect([hostCidr("10.0.3.2"), hostCidr("fd00::2")]).toEqual(["10.0.3.2/32", "fd00::2/128"]);
  });

  it("reads ranges of both families, and refuses what is too large or none", () => {
    expect(parseIpRange("10.0.3.77/24")).toEqual({
      family: 4,
      first: ipToNumber("10.0.3.0"),
      last: ipToNumber("10.0.3.255"),
      prefixLength: 24,
    });
    expect(parseIpRange("fd00:3::7/112").last).toBe(ipToNumber("fd00:3::ffff"));
    for (const bad of [
      "10.0.0.0/15",
      "10.0.3.0",
      "10.0.3.0/33",
      "fd00::/63",
      "fd00::/129",
      "x/24",
      "10.0.3.0/24/1",
    ]) {
      expect(() => parseIpRange(bad), bad).toThrow("is not an IPv4 range");
    }
  });

  it("knows what overlaps and what is inside, never across families", () => {
    const range = parseIpRange;
    expect(rangesOverlap(range("10.0.3.0/24"), range("10.0.3.128/25"))).toBe(true);
    expect(rangesOverlap(range("10.0.3.0/24"), range("10.0.4.0/24"))).toBe(false);
    expect(rangesOverlap(range("0.0.0.0/16"), range("::/112"))).toBe(false);
    expect(rangeContains(range("10.0.3.0/24"), "10.0.3.9")).toBe(true);
    expect(rangeContains(range("::/112"), "0.0.0.9")).toBe(false);
  });
});

describe("blocks of addresses", () => {
  it.each([
    ["10.77.0.0/29", "10.77.0.1", ["10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6"]],
    ["fd00::/125", "fd00::1", ["fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6"]],
    ["10.77.0.8/31", "10.77.0.1", ["10.77.0.8", "10.77.0.9"]],
    ["10.77.0.8/32", "10.77.0.1", ["10.77.0.8"]],
  ])("of %s neither the edges nor what is reserved is given out", (range, reserved, expected) => {
    expect(pickAll(new AddressBlock(range, [reserved]))).toEqual(expected);
  });

  it("goes round: an address that was given back comes when all others had their turn", () => {
    const block = new AddressBlock("10.77.0.0/29", ["10.77.0.1"]);
    const picks = Array.from({ length: 6 }, () => block.pick(() => true)?.slice(-1));
    expect(picks).toEqual(["2", "3", "4", "5", "6", "2"]);
  });

  it("gives out a part of a block that is larger than what is read through", () => {
    expect(new AddressBlock("fd00::/64", ["fd00::1"]).pick(() => true)).toBe("fd00::2");
    expect(pickAll(new AddressBlock("fd00::/64", []), 70_000)).toHaveLength(65_536);
  });
});
