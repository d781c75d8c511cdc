import { WireGuardError } from "./errors.js";

export interface PeerStatus {
  /** Base64, as given to `wg`. */
  readonly publicKey: string;
  /** `address:port` where the peer was last heard. */
  readonly endpoint?: string;
  readonly allowedIps: readonly string[];
  /** Unix seconds; absent when there was none since the interface was made. */
  readonly latestHandshake?: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

export interface WireGuardStatus {
  /** Absent until a private key is set. */
  readonly publicKey?: string;
  readonly listenPort: number;
  readonly peers: readonly PeerStatus[];
}

/**
 * Reads what `wg show <interface> dump` prints: one line of four fields for the interface, one of eight a peer.
 * The private key in the first line is dropped here.
 * @throws {WireGuardError} `unexpected_output`
 */
export function parseDump(text: string): WireGuardStatus {
  const [head, ...peers] = text.split("\n").filter((line) => line !== "");
  const [, publicKey = "", port = "", mark] = head?.split("\t") ?? [];
  if (mark === undefined || !/^\d+$/.test(port)) throw unexpected("interface line");
  return {
    ...(publicKey === "(none)" ? {} : { publicKey }),
    listenPort: Number(port),
    peers: peers.map(parsePeer),
  };
}

function parsePeer(line: string): PeerStatus {
  const [publicKey = "", , endpoint = "", allowed = "", handshake = "", received = "", sent = "", keepalive] =
    line.split("\t");
  if (keepalive === undefined || ![handshake, received, sent].every((n) => /^\d+$/.test(n))) {
    throw unexpected("peer line");
  }
  return {
    publicKey,
    ...(endpoint === "(none)" ? {} : { endpoint }),
    allowedIps: allowed === "(none)" ? [] : allowed.split(","),
    ...(handshake === "0" ? {} : { latestHandshake: Number(handshake) }),
    receivedBytes: Number(received),
    sentBytes: Number(sent),
  };
}

function unexpected(what: string): WireGuardError {
  return new WireGuardError("unexpected_output", `reading wg show dump: ${what} has another form`);
}
