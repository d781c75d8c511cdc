import { execFileSync } from "node:child_process";
import type { tproxy } from "@dstack/proto";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import { firewallRules, parseTunnel, tunnelConfig } from "../../src/boot/tunnel/tunnel.js";

const server = generateKeyPair();
const second = generateKeyPair();
const own = generateKeyPair();

function answer(
  change: Partial<Record<"clientIp" | "serverIp" | "serverPublicKey", string>> = {},
): tproxy.RegisterCvmResponse {
  return {
    $typeName: "tproxy.RegisterCvmResponse",
    wg: {
      $typeName: "tproxy.WireGuardConfig",
      serverPublicKey: server.publicKey,
      clientIp: "10.4.0.7",
      serverIp: "10.4.0.1",
      serverEndpoint: "10.0.2.2:51820",
      ...change,
    },
    servers: [],
  };
}
const node = (publicKey: string, ip: string): tproxy.WireGuardServer => ({
  $typeName: "tproxy.WireGuardServer",
  publicKey,
  ip,
  endpoint: `192.0.2.1:51820`,
  rpcUrl: "",
});

describe("tunnelConfig", () => {
  it("G5: gives each server its own address and no other, and sends the first packet at once", () => {
    const text = tunnelConfig(own.privateKey, parseTunnel(answer()), 0);
    expect(text).toBe(
      [
        "[Interface]",
        `PrivateKey = ${own.privateKey}`,
        "",
        "[Peer]",
        `PublicKey = ${server.publicKey}`,
        "AllowedIPs = 10.4.0.1/32",
        "Endpoint = 10.0.2.2:51820",
        "PersistentKeepalive = 25",
        "",
      ].join("\n"),
    );
  });

  it("peers with every node of a cluster", () => {
    const cluster = {
      ...answer(),
      servers: [node(server.publicKey, "10.4.0.1"), node(second.publicKey, "10.4.0.2")],
    };
    const text = tunnelConfig(own.privateKey, parseTunnel(cluster), 0);
    expect(text.match(/^AllowedIPs = .*$/gm)).toEqual([
      "AllowedIPs = 10.4.0.1/32",
      "AllowedIPs = 10.4.0.2/32",
    ]);
  });
});

describe("parseTunnel", () => {
  it.each([
    ["a network instead of an address", { serverIp: "0.0.0.0/0" }],
    ["text that adds a rule", { serverIp: "10.4.0.1 } accept\n" }],
    ["a name instead of an address", { clientIp: "localhost" }],
    ["an address of one link", { serverIp: "fe80::1%wg0" }],
    ["an IPv6 address that adds a rule", { serverIp: "fd00::1 } accept\n" }],
    ["a key that is none", { serverPublicKey: "abc" }],
    ["our own address for the server", { serverIp: "10.4.0.7" }],
  ])("G5: refuses %s", (_what, change) => {
    expect(() => parseTunnel(answer(change))).toThrow();
  });

  it("G5: refuses an address given twice, and an answer without a tunnel", () => {
    const twice = {
      ...answer(),
      servers: [node(server.publicKey, "10.4.0.1"), node(second.publicKey, "10.4.0.1")],
    };
    expect(() => parseTunnel(twice)).toThrow("one tunnel address twice");
    const { wg: _wg, ...without } = answer();
    expect(() => parseTunnel(without)).toThrow("without a WireGuard configuration");
  });
});

describe("firewallRules", () => {
  const rules = firewallRules(
    parseTunnel({
      ...answer(),
      servers: [node(server.publicKey, "10.4.0.1"), node(second.publicKey, "10.4.0.2")],
    }),
    { ssh: false },
  );

  it("G5: drops what comes through the tunnel from anybody but tproxy, ahead of address translation", () => {
    expect(rules).toContain("type filter hook prerouting priority raw;");
    expect(rules).toContain('iifname "wg0" ip saddr != { 10.4.0.1, 10.4.0.2 } drop');
    expect(rules).toContain('iifname "wg0" meta nfproto ipv6 drop');
  });

  it("G5: does the same for nodes with IPv6 addresses, and is /128 to them", () => {
    const tunnel = parseTunnel({
      ...answer({ clientIp: "fd00::7" }),
      servers: [node(server.publicKey, "fd00::1")],
    });
    expect(firewallRules(tunnel, { ssh: false })).toContain('iifname "wg0" ip6 saddr != { fd00::1 } drop');
    expect(firewallRules(tunnel, { ssh: false })).toContain('iifname "wg0" meta nfproto ipv4 drop');
    expect(tunnelConfig(own.privateKey, tunnel, 0)).toContain("AllowedIPs = fd00::1/128");
  });

  it("G5, G6: drops SSH through the tunnel even from tproxy, but for the development image", () => {
    expect(rules).toContain('iifname "wg0" tcp dport 22 drop');
    const tunnel = parseTunnel(answer());
    expect(firewallRules(tunnel, { ssh: true })).not.toContain("dport 22");
    expect(firewallRules(tunnel, { ssh: true })).toContain('iifname "wg0" ip saddr !=');
    expect(firewallRules(tunnel, { publicPorts: [80], ssh: true })).toContain(
      "!= { 8043, 8090, 80, 22 } drop",
    );
  });

  it("G5: lets in new connections to the ports that the app's compose names, and tappd's, and to no others", () => {
    const tunnel = parseTunnel(answer());
    expect(firewallRules(tunnel, { publicPorts: [8080, 8090], ssh: false })).toContain(
      'iifname "wg0" tcp flags & (syn | ack) == syn tcp dport != { 8043, 8090, 8080 } drop',
    );
    expect(firewallRules(tunnel, { publicPorts: [], ssh: false })).toContain(
      "tcp dport != { 8043, 8090 } drop",
    );
    expect(rules).not.toContain("tcp dport !=");
  });

  it("G5: lets nothing but TCP, and pings, in beside the ports that the app's compose names", () => {
    const only = 'iifname "wg0" meta l4proto != { tcp, icmp, ipv6-icmp } drop';
    expect(firewallRules(parseTunnel(answer()), { publicPorts: [80], ssh: false })).toContain(only);
    expect(rules).not.toContain("l4proto");
  });

  it.each([
    [rules],
    [firewallRules(parseTunnel(answer()), { publicPorts: [80, 443], ssh: false })],
    [
      firewallRules(parseTunnel({ ...answer(), servers: [node(server.publicKey, "fd00::1")] }), {
        ssh: true,
      }),
    ],
  ])("G5: is a ruleset nft accepts, a second time too", (rules) => {
    // A network namespace of our own: nothing of the machine's is touched.
    const nft = (): void => {
      execFileSync(
        "unshare",
        ["-n", "sh", "-c", "nft -f - <<E && nft -f - <<E\n" + rules + "E\n" + rules + "E\n"],
        {
          env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
        },
      );
    };
    expect(nft).not.toThrow();
  });
});
