import { SocketAddress, isIPv4, isIPv6 } from "node:net";

/**
 * An IPv4 address as 4 bytes, an IPv6 address as 16.
 * @throws {TypeError} it is neither
 */
export function ipBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  if (!isIPv6(address) || address.includes("%")) throw new TypeError("an IP address was expected");
  // A last part in the form of IPv4 stands for two groups.
  const plain = address.replace(/\d+\.\d+\.\d+\.\d+$/, (ipv4) => {
    const hex = ipBytes(ipv4).toString("hex");
    return `${hex.slice(0, 4)}:${hex.slice(4)}`;
  });
  const [front = [], back = []] = plain
    .split("::")
    .map((part) => (part === "" ? [] : part.split(":").map((group) => parseInt(group, 16))));
  const groups = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Buffer.from(groups.flatMap((group) => [group >> 8, group & 255]));
}

/** 16 bytes for any address: IPv4 as `::ffff:192.0.2.1`. */
export function mapped(bytes: Buffer): Buffer {
  return bytes.length === 16 ? bytes : Buffer.concat([Buffer.alloc(10), Buffer.of(0xff, 0xff), bytes]);
}

/**
 * Reads `192.0.2.0/24`, or an address, which stands for itself alone.
 * @throws {TypeError} it is neither
 */
export function parsePrefix(text: string): { readonly address: string; readonly bits: number } {
  const [address = "", bits, ...more] = text.split("/");
  const most = ipBytes(address).length * 8;
  const count = bits === undefined ? most : /^[0-9]{1,3}$/.test(bits) ? Number(bits) : Infinity;
  if (count > most || more.length > 0) throw new TypeError("an IP address or a prefix was expected");
  return { address, bits: count };
}

/** The address of 4 or 16 bytes, in the form the system writes it. */
export function ipText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Buffer.from(bytes).toString("hex").match(/.{4}/g) ?? [];
  return new SocketAddress({ address: groups.join(":"), family: "ipv6" }).address;
}
