/** What one client, one app and all together may take. Times in milliseconds. */
export interface Limits {
  /** From accept to the first byte. */
  readonly firstByteMs: number;
  /** From accept to the whole ClientHello, however slowly it trickles. */
  readonly helloMs: number;
  /** From ClientHello to the end of the TLS handshake we terminate. */
  readonly handshakeMs: number;
  /** Finding out where a custom domain leads. */
  readonly lookupMs: number;
  /** From the first attempt to a connection to any instance. */
  readonly connectMs: number;
  /** Without a byte in either direction. */
  readonly idleMs: number;
  /** Without a byte after one side has said it is done. */
  readonly halfClosedMs: number;
  /** A whole connection; 0 for no limit. */
  readonly totalMs: number;
  /** Connections open at once, all together. */
  readonly connections: number;
  /** Connections open at once to one app. */
  readonly connectionsPerApp: number;
  /** Connections open at once from one source address. Well below those of an app: no one may fill it alone. */
  readonly connectionsPerSource: number;
}

export const DEFAULT_LIMITS: Limits = {
  firstByteMs: 5_000,
  helloMs: 5_000,
  handshakeMs: 5_000,
  lookupMs: 5_000,
  connectMs: 5_000,
  idleMs: 600_000,
  halfClosedMs: 30_000,
  totalMs: 0,
  connections: 10_000,
  connectionsPerApp: 2_000,
  connectionsPerSource: 500,
};

/** A certificate taken anew brings new keys for session tickets: no key opens more than this time's sessions. */
export const TICKET_KEY_MS = 12 * 3_600_000;
