import { isIPv4, isIPv6 } from "node:net";
import { ipBytes, ipText, mapped } from "./ip-bytes.js";

/** We read no longer header; one of ours is shorter. */
export const MAX_PROXY_HEADER_BYTES = 4_096;
/** `PROXY TCP6 ` with the longest addresses and ports, and the end of the line. */
const MAX_LINE_BYTES = 107;

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const LINE_START = Buffer.from("PROXY ", "latin1");
const HEAD_BYTES = SIGNATURE.length + 4;
const LOCAL = 0x20;
const PROXY = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
const TLV_AUTHORITY = 0x02;

export interface Endpoint {
  /** IPv4 or IPv6. */
  readonly address: string;
  readonly port: number;
}

/** Who has connected, and to what. */
export interface ProxyAddresses {
  readonly source: Endpoint;
  readonly destination: Endpoint;
}

export type ProxyHeaderResult =
  | { readonly kind: "more" }
  /** `length` of all its bytes. Without addresses, whoever speaks to us speaks for himself. */
  | { readonly kind: "whole"; readonly length: number; readonly addresses: ProxyAddresses | undefined }
  | { readonly kind: "bad" };

const MORE: ProxyHeaderResult = { kind: "more" };
const BAD: ProxyHeaderResult = { kind: "bad" };

/**
 * Reads the header of the PROXY protocol, version 1 or 2 (haproxy.org, proxy-protocol.txt), at the start of what has
 * come so far. What follows it is not looked at.
 */
export function parseProxyHeader(bytes: Buffer): ProxyHeaderResult {
  if (startsLike(bytes, SIGNATURE)) return bytes.length < SIGNATURE.length ? MORE : parseBinary(bytes);
  if (startsLike(bytes, LINE_START)) return bytes.length < LINE_START.length ? MORE : parseLine(bytes);
  return BAD;
}

function startsLike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.subarray(0, length).equals(start.subarray(0, length));
}

/** Version 1: a line of text. */
function parseLine(bytes: Buffer): ProxyHeaderResult {
  const end = bytes.subarray(0, MAX_LINE_BYTES).indexOf("\r\n", LINE_START.length, "latin1");
  if (end < 0) return bytes.length < MAX_LINE_BYTES ? MORE : BAD;
  const words = bytes.toString("latin1", LINE_START.length, end).split(" ");
  if (words[0] === "UNKNOWN") return { kind: "whole", length: end + 2, addresses: undefined };
  const isAddress = words[0] === "TCP4" ? isIPv4 : words[0] === "TCP6" ? isPlainIPv6 : undefined;
  const [, from = "", to = "", fromPort = "", toPort = ""] = words;
  const isGood = words.length === 5 && isAddress?.(from) === true && isAddress(to);
  if (!isGood || !isPort(fromPort) || !isPort(toPort)) return BAD;
  const addresses = {
    source: { address: ipText(ipBytes(from)), port: Number(fromPort) },
    destination: { address: ipText(ipBytes(to)), port: Number(toPort) },
  };
  return { kind: "whole", length: end + 2, addresses };
}

function isPlainIPv6(text: string): boolean {
  return isIPv6(text) && !text.includes("%");
}

function isPort(text: string): boolean {
  return /^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65535;
}

/** Version 2: bytes. */
function parseBinary(bytes: Buffer): ProxyHeaderResult {
  if (bytes.length < HEAD_BYTES) return MORE;
  const [command, family] = [bytes[SIGNATURE.length], bytes[SIGNATURE.length + 1]];
  const length = HEAD_BYTES + bytes.readUInt16BE(SIGNATURE.length + 2);
  if ((command !== LOCAL && command !== PROXY) || length > MAX_PROXY_HEADER_BYTES) return BAD;
  if (bytes.length < length) return MORE;
  // Other families, such as Unix sockets, say nothing that we could use. What follows the addresses is not ours either.
  if (command === LOCAL || (family !== TCP_OVER_IPV4 && family !== TCP_OVER_IPV6)) {
    return { kind: "whole", length, addresses: undefined };
  }
  const size = family === TCP_OVER_IPV4 ? 4 : 16;
  const fields = bytes.subarray(HEAD_BYTES, length);
  if (fields.length < 2 * size + 4) return BAD;
  const addresses = {
    source: { address: ipText(fields.subarray(0, size)), port: fields.readUInt16BE(2 * size) },
    destination: {
      address: ipText(fields.subarray(size, 2 * size)),
      port: fields.readUInt16BE(2 * size + 2),
    },
  };
  return { kind: "whole", length, addresses };
}

/** A header of version 2 with the name the client asked for. */
export function proxyHeader({ source, destination }: ProxyAddresses, serverName: string): Buffer {
  const [from, to] = [ipBytes(plainIPv4(source.address)), ipBytes(plainIPv4(destination.address))];
  const isIpv4 = from.length === 4 && to.length === 4;
  const wide = (bytes: Buffer): Buffer => (isIpv4 ? bytes : mapped(bytes));
  const fields = Buffer.concat([
    wide(from),
    wide(to),
    uint16(source.port),
    uint16(destination.port),
    Buffer.of(TLV_AUTHORITY),
    uint16(serverName.length),
    Buffer.from(serverName, "latin1"),
  ]);
  const head = Buffer.of(PROXY, isIpv4 ? TCP_OVER_IPV4 : TCP_OVER_IPV6);
  return Buffer.concat([SIGNATURE, head, uint16(fields.length), fields]);
}

/** IPv4 comes as `::ffff:192.0.2.1` on a listener for both. */
function plainIPv4(address: string): string {
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1] ?? address;
}

function uint16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 255);
}
