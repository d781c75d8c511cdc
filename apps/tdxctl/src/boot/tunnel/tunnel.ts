import { isIP } from "node:net";
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
  /** Address inside the tunnel. */
  readonly ip: string;
  /** `host:port` as this guest reaches it. */
  readonly endpoint: string;
  /** `https://host:port` where it takes registrations, if it says so. */
  readonly rpcUrl: string | undefined;
}

/** The tunnel as tproxy assigned it. */
export interface Tunnel {
  /** Our address, IPv4 or IPv6. */
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
  const first = { publicKey: wg.serverPublicKey, ip: wg.serverIp, endpoint: wg.serverEndpoint, rpcUrl: "" };
  // The whole cluster, where tproxy is one; the node that answered is then among them.
  const offered = answer.servers.length > 0 ? answer.servers : [first];
  if (offered.length > MAX_SERVERS) throw new InputError(`tproxy names more than ${MAX_SERVERS} servers`);
  const ip = address(wg.clientIp, "our tunnel address");
  const servers = offered.map((server) => ({
    publicKey: parsePublicKey(server.publicKey),
    ip: address(server.ip, "a server's tunnel address"),
    endpoint: server.endpoint,
    rpcUrl: server.rpcUrl === "" ? undefined : server.rpcUrl,
  }));
  const addresses = new Set(servers.map((server) => server.ip));
  if (addresses.size !== servers.length || addresses.has(ip)) {
    throw new InputError("tproxy's answer gives one tunnel address twice");
  }
  return { ip, servers };
}

function address(text: string, what: string): string {
  if (isIP(text) === 0 || text.includes("%"))
    throw new InputError(`${what} from tproxy is not an IP address`);
  return text;
}

/** An address as a block of its own: /32, or /128 of IPv6. */
export function hostCidr(ip: string): string {
  return `${ip}/${isIP(ip) === 6 ? 128 : 32}`;
}

/**
 * Text for `wg syncconf`: every server may use its own address and no other (G5).
 * @param listenPort the port we have; 0 for any. Without it a running interface would get another one, and a node that
 * was started again calls us where it heard us last
 */
export function tunnelConfig(privateKey: WireGuardPrivateKey, tunnel: Tunnel, listenPort: number): string {
  return wgConfig({
    privateKey,
    ...(listenPort === 0 ? {} : { listenPort }),
    peers: tunnel.servers.map((server) => ({
      publicKey: server.publicKey,
      allowedIps: [hostCidr(server.ip)],
      endpoint: server.endpoint,
      persistentKeepalive: KEEPALIVE_SECONDS,
    })),
  });
}

/** tappd decides by itself what it tells, and is told who its clients are. */
export const TAPPD_PORTS: readonly number[] = [8043, 8090];
const SSH_PORT = 22;

/** What is let through the tunnel, beside tappd's ports. */
export interface LetIn {
  /** On which the app is reached; all of them unless its compose document says. */
  readonly publicPorts?: readonly number[] | undefined;
  /** SSH: in development images alone, which have a server for it and take keys only. */
  readonly ssh: boolean;
}

/**
 * The only ports that tproxy's clients get to through the tunnel; undefined for all.
 * @param publicPorts of the compose document
 */
export function openPorts(publicPorts: readonly number[] | undefined): number[] | undefined {
  return publicPorts === undefined ? undefined : [...new Set([...TAPPD_PORTS, ...publicPorts])];
}

/** New connections only: what the guest asked for may be answered, pings too. tproxy speaks nothing but TCP to apps. */
function onlyPorts(ports: readonly number[]): string[] {
  const tunnel = `    iifname "${WIREGUARD_INTERFACE}"`;
  return [
    `${tunnel} meta l4proto != { tcp, icmp, ipv6-icmp } drop`,
    `${tunnel} tcp flags & (syn | ack) == syn tcp dport != { ${ports.join(", ")} } drop`,
  ];
}

/**
 * An nftables ruleset: through the tunnel only tproxy's addresses are heard, by the guest and by its containers (G5).
 * It hooks in ahead of Docker's address translation, so that published ports are covered. SSH is for who works on
 * tproxy's machine: from the internet nobody gets to it, for tproxy leads to port 22 only where it is told to.
 */
export function firewallRules(tunnel: Tunnel, { publicPorts, ssh }: LetIn): string {
  const open = openPorts(publicPorts);
  const of = (family: 4 | 6): string =>
    tunnel.servers.flatMap(({ ip }) => (isIP(ip) === family ? [ip] : [])).join(", ");
  const only = (name: "ip" | "ip6", protocol: "ipv4" | "ipv6", servers: string): string =>
    servers === ""
      ? `    iifname "${WIREGUARD_INTERFACE}" meta nfproto ${protocol} drop`
      : `    iifname "${WIREGUARD_INTERFACE}" ${name} saddr != { ${servers} } drop`;
  return [
    "table inet dstack",
    "delete table inet dstack",
    "table inet dstack {",
    "  chain prerouting {",
    "    type filter hook prerouting priority raw; policy accept;",
    only("ip", "ipv4", of(4)),
    only("ip6", "ipv6", of(6)),
    ...(ssh ? [] : [`    iifname "${WIREGUARD_INTERFACE}" tcp dport ${SSH_PORT} drop`]),
    ...(open === undefined ? [] : onlyPorts(ssh ? [...new Set([...open, SSH_PORT])] : open)),
    "  }",
    "}",
    "",
  ].join("\n");
}
