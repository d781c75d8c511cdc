import { describe, expect, it } from "vitest";
import { parseProxyHeader, proxyHeader } from "../src/proxy-header.js";
import type { ProxyAddresses } from "../src/proxy-header.js";
import { proxyHeaders } from "./proxy-headers.js";

function told(bytes: Buffer): string {
  const result = parseProxyHeader(bytes);
  if (result.kind !== "whole") return result.kind;
  expect(result.length).toBe(bytes.length);
  if (result.addresses === undefined) return "none";
  const { source, destination } = result.addresses;
  return [source.address, source.port, destination.address, destination.port].join(" ");
}

describe("the header of the PROXY protocol", () => {
  it.each(proxyHeaders)("P1: %s", (_, bytes, expected) => {
    expect(told(bytes)).toBe(expected);
  });

  it.each(proxyHeaders)("P1: %s, byte by byte, with a ClientHello behind it", (_, bytes, expected) => {
    const followed = Buffer.concat([bytes, Buffer.from("160301", "hex")]);
    let length = 0;
    while (length < followed.length && parseProxyHeader(followed.subarray(0, length)).kind === "more")
      length++;
    const result = parseProxyHeader(followed.subarray(0, length));
    if (expected === "more") return;
    expect(result.kind).toBe(expected === "bad" ? "bad" : "whole");
    if (result.kind === "whole") expect(result.length).toBe(bytes.length);
  });

  it.each<[string, string, string, string]>([
    ["IPv4", "192.0.2.1", "198.51.100.2", "11000c"],
    ["IPv4 on a listener for both", "::ffff:192.0.2.1", "::ffff:198.51.100.2", "11000c"],
    ["IPv6", "2001:db8::1", "2001:db8::2", "210024"],
  ])("is written for %s so that it can be read", (_, from, to, head) => {
    const addresses: ProxyAddresses = {
      source: { address: from, port: 1 },
      destination: { address: to, port: 443 },
    };
    const bytes = proxyHeader(addresses, "a.example.org");
    const plain = (text: string): string => text.replace("::ffff:", "");
    expect(told(bytes)).toBe(`${plain(from)} 1 ${plain(to)} 443`);
    expect(bytes.subarray(13, 14).toString("hex")).toBe(head.slice(0, 2));
    expect(bytes.subarray(-16).toString("latin1")).toBe("\x02\0\x0da.example.org");
  });
});
