const signature = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

/** A header of version 2. */
export function binary(command: number, family: number, fields: string, length?: number): Buffer {
  const bytes = Buffer.from(fields, "hex");
  const head = Buffer.of(command, family, 0, 0);
  head.writeUInt16BE(length ?? bytes.length, 2);
  return Buffer.concat([signature, head, bytes]);
}

const line = (text: string): Buffer => Buffer.from(`${text}\r\n`, "latin1");
const v4 = "c0000201" + "c6336402" + "dbba" + "01bb";
const v6 = `${"20010db8".padEnd(30, "0")}01${"20010db8".padEnd(30, "0")}02${"dbba01bb"}`;
const told4 = "192.0.2.1 56250 198.51.100.2 443";
const told6 = "2001:db8::1 56250 2001:db8::2 443";

/** What both parsers find: the addresses, `none` for a whole header without, `more`, or `bad`. */
export const proxyHeaders: readonly (readonly [string, Buffer, string])[] = [
  ["version 1, IPv4", line("PROXY TCP4 192.0.2.1 198.51.100.2 56250 443"), told4],
  ["version 1, IPv6", line("PROXY TCP6 2001:db8::1 2001:0DB8:0::2 56250 443"), told6],
  ["version 1, port 0", line("PROXY TCP4 192.0.2.1 198.51.100.2 0 65535"), "192.0.2.1 0 198.51.100.2 65535"],
  ["version 1, unknown", line("PROXY UNKNOWN"), "none"],
  ["version 1, unknown, with more", line("PROXY UNKNOWN ffff::1 ffff::1 65535 65535"), "none"],
  ["version 1, 107 bytes", line(`PROXY UNKNOWN ${"x".repeat(91)}`), "none"],
  ["version 1, 108 bytes", line(`PROXY UNKNOWN ${"x".repeat(92)}`), "bad"],
  ["version 1, never-ending", Buffer.from(`PROXY UNKNOWN ${"x".repeat(200)}`), "bad"],
  ["version 1, cut", Buffer.from("PROXY TCP4 192.0.2.1 198.51"), "more"],
  ["version 1, before its last byte", Buffer.from("PROXY UNKNOWN\r"), "more"],
  ["version 1, the first bytes", Buffer.from("PRO"), "more"],
  ["version 1, another family", line("PROXY UDP4 192.0.2.1 198.51.100.2 56250 443"), "bad"],
  ["version 1, wrong family", line("PROXY TCP4 2001:db8::1 2001:db8::2 56250 443"), "bad"],
  ["version 1, IPv4 for IPv6", line("PROXY TCP6 192.0.2.1 198.51.100.2 56250 443"), "bad"],
  ["version 1, a zone", line("PROXY TCP6 fe80::1%eth0 fe80::2 1 2"), "bad"],
  ["version 1, octal", line("PROXY TCP4 192.0.2.01 198.51.100.2 56250 443"), "bad"],
  ["version 1, NUL", line("PROXY TCP4 192.0.2.1\0 198.51.100.2 56250 443"), "bad"],
  ["version 1, port too large", line("PROXY TCP4 192.0.2.1 198.51.100.2 65536 443"), "bad"],
  ["version 1, port with zeros", line("PROXY TCP4 192.0.2.1 198.51.100.2 056 443"), "bad"],
  ["version 1, port with sign", line("PROXY TCP4 192.0.2.1 198.51.100.2 +56 443"), "bad"],
  ["version 1, two spaces", line("PROXY TCP4  192.0.2.1 198.51.100.2 56250 443"), "bad"],
  ["version 1, a word too many", line("PROXY TCP4 192.0.2.1 198.51.100.2 56250 443 x"), "bad"],
  ["version 1, space at the end", line("PROXY TCP4 192.0.2.1 198.51.100.2 56250 443 "), "bad"],
  ["version 1, a word too few", line("PROXY TCP4 192.0.2.1 198.51.100.2 56250"), "bad"],
  ["version 1, nothing", line("PROXY "), "bad"],
  ["version 1, lower case", line("proxy UNKNOWN"), "bad"],
  ["version 2, IPv4", binary(0x21, 0x11, v4), told4],
  ["version 2, IPv6", binary(0x21, 0x21, v6), told6],
  ["version 2, with more fields", binary(0x21, 0x11, `${v4}04000401020304`), told4],
  ["version 2, with broken fields", binary(0x21, 0x11, `${v4}04ffff`), told4],
  ["version 2, 4,096 bytes", binary(0x21, 0x11, v4.padEnd(2 * 4080, "0")), told4],
  ["version 2, 4,097 bytes", binary(0x21, 0x11, v4.padEnd(2 * 4081, "0")), "bad"],
  ["version 2, says 64 KiB", binary(0x21, 0x11, v4, 65535), "bad"],
  ["version 2, local", binary(0x20, 0x00, ""), "none"],
  ["version 2, local with addresses", binary(0x20, 0x11, v4), "none"],
  ["version 2, Unix sockets", binary(0x21, 0x31, "00".repeat(216)), "none"],
  ["version 2, UDP", binary(0x21, 0x12, v4), "none"],
  ["version 2, addresses too short", binary(0x21, 0x11, v4.slice(2)), "bad"],
  ["version 2, IPv6 too short", binary(0x21, 0x21, v6.slice(2)), "bad"],
  ["version 2, cut in the addresses", binary(0x21, 0x11, v4.slice(4), 12), "more"],
  ["version 2, cut in the head", binary(0x21, 0x11, "").subarray(0, 14), "more"],
  ["version 2, another version", binary(0x31, 0x11, v4), "bad"],
  ["version 2, another command", binary(0x22, 0x11, v4), "bad"],
  ["version 2, half a signature", signature.subarray(0, 5), "more"],
  ["a ClientHello", Buffer.from("1603010200010001fc0303", "hex"), "bad"],
  ["nothing", Buffer.alloc(0), "more"],
];
