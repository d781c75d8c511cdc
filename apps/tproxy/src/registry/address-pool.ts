import { InputError } from "@dstack/core";
import { ipv4ToNumber, numberToIpv4, parseIpv4Range } from "./ipv4.js";

/** The addresses guests get. Who holds one keeps it until it is given back. */
export class AddressPool {
  readonly #first: number;
  readonly #last: number;
  readonly #reserved: ReadonlySet<number>;
  readonly #taken = new Set<number>();
  #next: number;

  /**
   * @param range such as `10.0.3.0/24`; its first and last address are never given out, where it has more than two
   * @param reserved addresses inside it that are in use otherwise
   */
  constructor(range: string, reserved: readonly string[]) {
    const { first, last, prefixLength } = parseIpv4Range(range);
    const edge = prefixLength < 31 ? 1 : 0;
    this.#first = first + edge;
    this.#last = last - edge;
    this.#next = this.#first;
    this.#reserved = new Set(reserved.map(ipv4ToNumber));
  }

  /** Whether the address is one of those that are given out. */
  contains(address: string): boolean {
    const value = ipv4ToNumber(address);
    return this.#first <= value && value <= this.#last && !this.#reserved.has(value);
  }

  /**
   * Takes an address that is known to be held.
   * @throws {InputError} not one of ours, or held twice
   */
  claim(address: string): void {
    if (!this.contains(address)) throw new InputError(`${address} is not in the client range`);
    if (this.#taken.has(ipv4ToNumber(address))) throw new InputError(`${address} is held twice`);
    this.#taken.add(ipv4ToNumber(address));
  }

  /**
   * Takes a free address; the one that was given back last comes last, so that nobody's old traffic meets a new owner.
   * @returns undefined when none is free
   */
  allocate(): string | undefined {
    const size = this.#last - this.#first + 1;
    for (let step = 0; step < size; step++) {
      const candidate = this.#first + ((this.#next - this.#first + step) % size);
      if (this.#taken.has(candidate) || this.#reserved.has(candidate)) continue;
      this.#taken.add(candidate);
      this.#next = candidate + 1;
      return numberToIpv4(candidate);
    }
    return undefined;
  }

  release(address: string): void {
    this.#taken.delete(ipv4ToNumber(address));
  }
}
