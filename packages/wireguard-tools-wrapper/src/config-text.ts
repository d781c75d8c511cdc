import { InputError } from "@dstack/core";
import { isIP } from "node:net";
import type { WireGuardPrivateKey, WireGuardPublicKey } from "./keys.js";

export interface PeerConfig {
  readonly publicKey: WireGuardPublicKey;
  /** Addresses this peer may use as source, and to which packets go to it: `10.0.3.2/32`. */
  readonly allowedIps: readonly string[];
  /** `host:port`; absent for a peer that calls us. */
  readonly endpoint?: string;
  /** Seconds; keeps a NAT mapping alive. */
  readonly persistentKeepalive?: number;
}

export interface WireGuardConfig {
  readonly privateKey: WireGuardPrivateKey;
  readonly listenPort?: number;
  readonly peers: readonly PeerConfig[];
}

/**
 * The text `wg syncconf` reads. Everything that goes into it is checked, so that no value can add a line.
 * @throws {InputError} an address, port, endpoint or keepalive that is none
 */
export function wgConfig(config: WireGuardConfig): string {
  const lines = ["[Interface]", `PrivateKey = ${config.privateKey}`];
  if (config.listenPort !== undefined) lines.push(`ListenPort = ${checkPort(config.listenPort)}`);
  for (const peer of config.peers) {
    lines.push("", "[Peer]", `PublicKey = ${peer.publicKey}`);
    if (peer.allowedIps.length > 0) lines.push(`AllowedIPs = ${peer.allowedIps.map(checkCidr).join(", ")}`);
    if (peer.endpoint !== undefined) lines.push(`Endpoint = ${checkEndpoint(peer.endpoint)}`);
    if (peer.persistentKeepalive !== undefined) {
      lines.push(`PersistentKeepalive = ${checkPort(peer.persistentKeepalive)}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/**
 * Checks `address/prefix length`.
 * @throws {InputError} otherwise
 */
export function checkCidr(text: string): string {
  const [address = "", length = "", ...rest] = text.split("/");
  const bits = isIP(address) === 4 ? 32 : isIP(address) === 6 ? 128 : 0;
  if (bits === 0 || rest.length > 0 || !/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > bits) {
    throw new InputError(`${JSON.stringify(text)} is not an address with a prefix length`);
  }
  return text;
}

/** Ports and keepalive intervals share their range: 16 bits. */
function checkPort(value: number): number {
  if (!Number.isInteger(value) || value < 0 || value > 65535) {
    throw new InputError(`${value} is not between 0 and 65535`);
  }
  return value;
}

function checkEndpoint(text: string): string {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  const [, v6, , port] = match ?? [];
  if (match === null || Number(port) > 65535 || (v6 !== undefined && isIP(v6) !== 6)) {
    throw new InputError(`${JSON.stringify(text)} is not a host and port`);
  }
  return text;
}
