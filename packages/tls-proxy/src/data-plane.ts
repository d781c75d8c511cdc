import type { CheckedCertificate } from "./certificate.js";
import type { RouteMode } from "./destination.js";
import type { ServerName } from "./server-name.js";

/** One instance of an app. */
export interface Backend {
  readonly appId: string;
  readonly instanceId: string;
  /** An IP address; names are never resolved here. */
  readonly host: string;
  /** Ports on which it wants to be told by the PROXY protocol (version 2) who its client is; at most 18. */
  readonly proxyProtocolPorts?: readonly number[];
  /** The only ports it is dialled on, at most 66; all of them when absent. */
  readonly publicPorts?: readonly number[];
}

/** Inclusive. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** Everything a data plane needs to route the names it knows. Immutable: a change is a new table. */
export interface RouteTable {
  /** Lower case, without dot at either end. */
  readonly baseDomains: readonly string[];
  /** By app id and by instance id; the instance to try first comes first. Nothing else is ever dialled. */
  readonly backends: ReadonlyMap<string, readonly Backend[]>;
  readonly allowedPorts: readonly PortRange[];
}

export interface ListenerOptions {
  readonly host: string;
  /** 0 for a free one. */
  readonly port: number;
  /** Never terminate here: every connection passes through, whatever its name says. */
  readonly passthroughOnly?: boolean;
  /**
   * Balancers in front of us, as addresses or prefixes (`192.0.2.0/24`), at most 32: each connection of theirs begins
   * with a header of the PROXY protocol, version 1 or 2, that says for whom it is. Nobody else may send one.
   */
  readonly proxyProtocolFrom?: readonly string[];
}

/** Where a custom domain leads. */
export interface CustomDestination {
  /** App id or instance id. */
  readonly id: string;
  readonly port: number;
}

/** Why a connection did not get through. */
export type RefusalReason =
  | "bad_proxy_header"
  | "not_tls"
  | "plain_http"
  | "bad_hello"
  | "slow_hello"
  | "no_name"
  | "unknown_name"
  | "port_not_allowed"
  | "too_many"
  | "too_many_of_source"
  | "too_many_of_app"
  | "handshake_failed"
  | "connect_failed"
  | "client_gone"
  /** Our own fault; the report has the error. */
  | "internal_error";

/** How a connection that got through came to its end. */
export type CloseReason = "finished" | "reset" | "idle" | "total_time" | "drained" | "shutdown";

/** One connection, told when it is over. */
export interface ConnectionReport {
  readonly source: string;
  readonly serverName: ServerName | undefined;
  readonly mode: RouteMode | undefined;
  readonly appId: string | undefined;
  readonly instanceId: string | undefined;
  readonly outcome: CloseReason | RefusalReason;
  /** Milliseconds of the TLS handshake, where one was terminated. */
  readonly handshakeMs: number | undefined;
  /** Milliseconds until an instance was connected. */
  readonly connectMs: number | undefined;
  readonly durationMs: number;
  readonly bytesToApp: number;
  readonly bytesToClient: number;
  /** With `internal_error`: what nobody expected. */
  readonly error?: unknown;
}

export interface DataPlaneOptions {
  readonly listeners: readonly ListenerOptions[];
  readonly routes: RouteTable;
  /** Each is served under its names. A name that needs termination and has none is refused as unknown. */
  readonly certificates?: readonly CheckedCertificate[];
  /**
   * Asked for names outside the base domains, while the connection waits. Absent: there are no custom domains.
   * `source` is an IPv4 address or an IPv6 /64: who is to be limited.
   */
  readonly lookup?: (domain: ServerName, source: string) => Promise<CustomDestination | undefined>;
  /** Called once a connection. */
  readonly onConnection?: (report: ConnectionReport) => void;
}

/** What an open connection is at: it waits for the ClientHello, an answer of DNS, TLS, an instance, or bytes. */
export type ConnectionState = "hello" | "lookup" | "handshake" | "connecting" | "relaying";

/** One open connection as it is now. */
export interface OpenConnection {
  /** Larger than those of all connections before it in the same run of the engine. */
  readonly id: number;
  readonly source: string;
  readonly serverName: ServerName | undefined;
  readonly mode: RouteMode | undefined;
  readonly appId: string | undefined;
  readonly instanceId: string | undefined;
  readonly state: ConnectionState;
  /** When it was accepted, Unix milliseconds. */
  readonly since: number;
  readonly bytesToApp: number;
  readonly bytesToClient: number;
}

/** Which connections {@link DataPlane.drain} waits for and ends: those of one instance, or all there are. */
export type DrainScope = "all" | { readonly instanceId: string };

export interface DataPlaneStats {
  /** Connections open now, those being set up included. */
  readonly open: number;
  readonly openByApp: ReadonlyMap<string, number>;
  readonly openByInstance: ReadonlyMap<string, number>;
}

/**
 * Accepts TLS connections, routes them by name, ends TLS where the name asks for it, and relays bytes. The control
 * plane hands it snapshots and is asked only about names that are not in them.
 */
export interface DataPlane extends AsyncDisposable {
  /** What was bound, in the order of the listeners asked for. */
  readonly listeners: readonly { readonly host: string; readonly port: number }[];
  /** For new connections from a moment on; open ones stay. */
  setRoutes(routes: RouteTable): void;
  /** In place of all there were: for new connections from a moment on; open ones keep the one they began with. */
  setCertificates(certificates: readonly CheckedCertificate[]): void;
  stats(): DataPlaneStats;
  /** Those open now, the newest first, `most` at most. */
  connections(most: number): Promise<readonly OpenConnection[]>;
  /**
   * Stops accepting, or accepts again. Meanwhile the kernel refuses who connects; who was in its queue is still
   * accepted, and open connections live on.
   */
  setAccepting(accepting: boolean): Promise<void>;
  /**
   * Lets connections come to their end, for `limitMs` at most or until `signal` aborts, then ends those that are left
   * (`drained`) by a reset: nothing that waited to be sent goes to the app's address any more. New ones are kept away before, by routes without the instance, or by `setAccepting(false)`.
   */
  drain(scope: DrainScope, limitMs: number, signal?: AbortSignal): Promise<void>;
  /** Stops listening and ends what is open. */
  close(): Promise<void>;
}
