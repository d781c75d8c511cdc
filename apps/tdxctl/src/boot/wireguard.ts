import { isIPv4 } from "node:net";
import { InputError } from "@dstack/core";
import type { tproxy } from "@dstack/proto";
import { parsePublicKey, wgConfig } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardPrivateKey, WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";

export const WIREGUARD_INTERFACE = "wg0";
/** Seconds. NAT mappings last at least 30 s (RFC 4787 §4.3 asks for more); the first packet leaves at once. */
const KEEPALIVE_SECONDS = 25;
/** More tproxy nodes than a cluster has. */
const MAX_SERVERS = 64;

/** One tproxy node. */
export interface TunnelServer {
  readonly publicKey: WireGuardPublicKey;
  /** IPv4 address inside the tunnel. */
  readonly ip: string;
  /** `host:port` as this guest reaches it. */
  readonly endpoint: string;
}

/** The tunnel as tproxy assigned it. */
export interface Tunnel {
  /** Our IPv4 address. */
  readonly ip: string;
  readonly servers: readonly TunnelServer[];
}

/**
 * Reads tproxy's answer.
 * @throws {InputError} an address or key that is none, or no server
 */
export function parseTunnel(answer: tproxy.RegisterCvmResponse): Tunnel {
  const { wg } = answer;
  if (wg === undefined) throw new InputError("tproxy answered without a WireGuard configuration");
  const first = { publicKey: wg.serverPublicKey, ip: wg.serverIp, endpoint: wg.serverEndpoint };
  // The whole cluster, where tproxy is one; the node that answered is then among them.
  const offered = answer.servers.length > 0 ? answer.servers : [first];
  if (offered.length > MAX_SERVERS) throw new InputError(`tproxy names more than ${MAX_SERVERS} servers`);
  const ip = ipv4(wg.clientIp, "our tunnel address");
  const servers = offered.map((server) => ({
    publicKey: parsePublicKey(server.publicKey),
    ip: ipv4(server.ip, "a server's tunnel address"),
    endpoint: server.endpoint,
  }));
  const addresses = new Set(servers.map((server) => server.ip));
  if (addresses.size !== servers.length || addresses.has(ip)) {
    throw new InputError("tproxy's answer gives one tunnel address twice");
  }
  return { ip, servers };
}

function ipv4(text: string, what: string): string {
  if (!isIPv4(text)) throw new InputError(`${what} from tproxy is not an IPv4 address`);
  return text;
}

/** Text for `wg syncconf`: every server may use its own address and no other (G5). */
export function tunnelConfig(privateKey: WireGuardPrivateKey, tunnel: Tunnel): string {
  return wgConfig({
    privateKey,
    peers: tunnel.servers.map((server) => ({
      publicKey: server.publicKey,
      allowedIps: [`${server.ip}/32`],
      endpoint: server.endpoint,
      persistentKeepalive: KEEPALIVE_SECONDS,
    })),
  });
}

/**
 * An nftables ruleset: through the tunnel only tproxy's addresses are heard, by the guest and by its containers (G5).
 * It hooks in ahead of Docker's address translation, so that published ports are covered. SSH exists in development
 * images only, and even there nobody gets to it from the internet.
 */
export function firewallRules(tunnel: Tunnel): string {
  const servers = tunnel.servers.map((server) => server.ip).join(", ");
  return [
    "table inet dstack",
    "delete table inet dstack",
    "table inet dstack {",
    "  chain prerouting {",
    "    type filter hook prerouting priority raw; policy accept;",
    `    iifname "${WIREGUARD_INTERFACE}" ip saddr != { ${servers} } drop`,
    `    iifname "${WIREGUARD_INTERFACE}" meta nfproto != ipv4 drop`,
    `    iifname "${WIREGUARD_INTERFACE}" tcp dport 22 drop`,
    "  }",
    "}",
    "",
  ].join("\n");
}
