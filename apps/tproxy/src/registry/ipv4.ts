import { isIPv4 } from "node:net";
import { InputError } from "@dstack/core";

/** A block of IPv4 addresses, as numbers. */
export interface Ipv4Range {
  /** First address of the block. */
  readonly first: number;
  /** Last address of the block. */
  readonly last: number;
  readonly prefixLength: number;
}

/** @throws {InputError} unless the text is an IPv4 address */
export function ipv4ToNumber(text: string): number {
  if (!isIPv4(text)) throw new InputError(`${JSON.stringify(text)} is not an IPv4 address`);
  return text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

export function numberToIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}

/**
 * Reads `10.0.3.0/24`. Bits of the address after the prefix do not count.
 * @throws {InputError} otherwise, or for a block of more than 65,536 addresses
 */
export function parseIpv4Range(text: string): Ipv4Range {
  const [address = "", length = "", ...rest] = text.split("/");
  const prefixLength = Number(length);
  if (rest.length > 0 || !/^\d{1,2}$/.test(length) || prefixLength < 16 || prefixLength > 32) {
    throw new InputError(
      `${JSON.stringify(text)} is not an IPv4 range of at most 65536 addresses, such as 10.0.3.0/24`,
    );
  }
  const size = 2 ** (32 - prefixLength);
  const first = Math.floor(ipv4ToNumber(address) / size) * size;
  return { first, last: first + size - 1, prefixLength };
}
