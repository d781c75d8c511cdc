import { isIPv6 } from "node:net";

/**
 * Who counts as one source: an IPv4 address, or the /64 an IPv6 address is in, which is what one customer gets.
 * @param address as Node tells it; IPv4 on a listener for both comes as `::ffff:192.0.2.1`
 */
export function sourceKey(address: string): string {
  if (!isIPv6(address)) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [front = [], back = []] = address
    .replace(/%.*$/, "")
    .split("::")
    .map((part) => (part === "" ? [] : part.split(":")));
  const groups = [...front, ...Array<string>(8 - front.length - back.length).fill("0"), ...back];
  const prefix = groups.slice(0, 4).map((group) => parseInt(group, 16).toString(16));
  return `${prefix.join(":")}::/64`;
}

/** Counts what is open by key and refuses above a limit. Keys without anything open take no memory. */
export class CountLimit {
  readonly #open = new Map<string, number>();

  constructor(readonly limit: number) {}

  /** @returns what to call when it is over, or undefined when there are too many */
  enter(key: string): (() => void) | undefined {
    const count = this.#open.get(key) ?? 0;
    if (count >= this.limit) return undefined;
    this.#open.set(key, count + 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      const now = (this.#open.get(key) ?? 1) - 1;
      if (now === 0) this.#open.delete(key);
      else this.#open.set(key, now);
    };
  }

  /** A copy of the counts. */
  counts(): ReadonlyMap<string, number> {
    return new Map(this.#open);
  }
}
