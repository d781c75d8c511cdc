import { isIP } from "node:net";
import { InputError } from "@dstack/core";

/** A block of addresses, as numbers. */
export interface IpRange {
  readonly family: 4 | 6;
  readonly first: bigint;
  readonly last: bigint;
  readonly prefixLength: number;
}

/** Larger blocks are not read through at a registration. */
const MAX_IPV4_ADDRESSES = 65_536;

/** @throws {InputError} unless the text is an address */
export function ipToNumber(text: string): bigint {
  if (isIP(text) === 4) {
    return text.split(".").reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  }
  if (isIP(text) !== 6 || text.includes("%")) {
    throw new InputError(`${JSON.stringify(text)} is not an IP address`);
  }
  const [head = "", tail] = withoutDots(text).split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  return [...before, ...zeros, ...after].reduce((sum, group) => sum * 65_536n + BigInt(`0x${group}`), 0n);
}

/** `::ffff:192.0.2.1` with its last part as two groups. */
function withoutDots(text: string): string {
  const dotted = /[^:]*\.[^:]*$/.exec(text)?.[0];
  if (dotted === undefined) return text;
  const value = ipToNumber(dotted);
  return `${text.slice(0, -dotted.length)}${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
}

/** The one way to write an address (RFC 5952), as `wg` and `ip` print it. */
export function numberToIp(value: bigint, family: 4 | 6): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
  const groups = [112n, 96n, 80n, 64n, 48n, 32n, 16n, 0n].map((shift) =>
    ((value >> shift) & 0xffffn).toString(16),
  );
  // The URL standard's serializer is the shortest one there is, and Node has it.
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

/** The canonical form of an address. @throws {InputError} it is none */
export function canonicalIp(text: string): string {
  return numberToIp(ipToNumber(text), isIP(text) === 4 ? 4 : 6);
}

/** An address as a block of its own: `10.0.3.2/32`, `fd00::2/128`. */
export function hostCidr(ip: string): string {
  return `${ip}/${isIP(ip) === 6 ? 128 : 32}`;
}

/**
 * Reads `10.0.3.0/24` or `fd00:3::/112`. Bits of the address after the prefix do not count.
 * @throws {InputError} otherwise, or for a block that is too large
 */
export function parseIpRange(text: string): IpRange {
  const [address = "", length = "", ...rest] = text.split("/");
  const family = isIP(address) === 6 ? 6 : 4;
  const bits = family === 6 ? 128 : 32;
  const prefixLength = Number(length);
  const shortest = family === 6 ? 64 : 32 - Math.log2(MAX_IPV4_ADDRESSES);
  if (
    isIP(address) === 0 ||
    rest.length > 0 ||
    !/^\d{1,3}$/.test(length) ||
    prefixLength < shortest ||
    prefixLength > bits
  ) {
    throw new InputError(
      `${JSON.stringify(text)} is not an IPv4 range of at most ${MAX_IPV4_ADDRESSES} addresses, such as 10.0.3.0/24, ` +
        "nor an IPv6 range from /64 on, such as fd00:3::/112",
    );
  }
  const size = 1n << BigInt(bits - prefixLength);
  const first = (ipToNumber(address) / size) * size;
  return { family, first, last: first + size - 1n, prefixLength };
}

export function rangesOverlap(a: IpRange, b: IpRange): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

export function rangeContains(range: IpRange, ip: string): boolean {
  const value = ipToNumber(ip);
  return isIP(ip) === range.family && range.first <= value && value <= range.last;
}
