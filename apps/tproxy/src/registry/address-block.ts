import { ipToNumber, numberToIp, parseIpRange } from "./ip-range.js";

/** As many addresses of a block are given out. */
const MAX_ADDRESSES = 65_536n;

/** The addresses that one node gives to its guests. Who holds which one stands in the store. */
export class AddressBlock {
  readonly #family: 4 | 6;
  readonly #first: bigint;
  readonly #size: bigint;
  readonly #reserved: ReadonlySet<bigint>;
  #next = 0n;

  /**
   * @param range such as `10.0.3.0/24`; its first and last address are never given out, where it has more than two
   * @param reserved addresses inside it that are in use otherwise
   */
  constructor(range: string, reserved: readonly string[]) {
    const { family, first, last } = parseIpRange(range);
    const edge = last - first > 1n ? 1n : 0n;
    const size = last - first + 1n - 2n * edge;
    this.#family = family;
    this.#first = first + edge;
    this.#size = size > MAX_ADDRESSES ? MAX_ADDRESSES : size;
    this.#reserved = new Set(reserved.map(ipToNumber));
  }

  /**
   * Finds an address, going round: the one that was given out last comes last, so that nobody's old traffic meets a
   * new owner.
   * @returns undefined when none is free
   */
  pick(isFree: (address: string) => boolean): string | undefined {
    for (let step = 0n; step < this.#size; step++) {
      const offset = (this.#next + step) % this.#size;
      const address = numberToIp(this.#first + offset, this.#family);
      if (this.#reserved.has(this.#first + offset) || !isFree(address)) continue;
      this.#next = offset + 1n;
      return address;
    }
    return undefined;
  }
}
