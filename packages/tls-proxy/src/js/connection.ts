import type { Socket } from "node:net";
import type { SecureContext } from "node:tls";
import { sourceKey, withDeadline } from "@dstack/core";
import type { CountLimit } from "@dstack/core";
import { backendsOn } from "../backends-on.js";
import type { ClientHello } from "../client-hello.js";
import type {
  Backend,
  CloseReason,
  ConnectionReport,
  ConnectionState,
  CustomDestination,
  OpenConnection,
  RefusalReason,
  RouteTable,
} from "../data-plane.js";
import { parseDestination } from "../destination.js";
import type { AppDestination, RouteMode } from "../destination.js";
import type { Limits } from "../limits.js";
import { proxyHeader } from "../proxy-header.js";
import type { ProxyAddresses } from "../proxy-header.js";
import type { ServerName } from "../server-name.js";
import { raceToConnect } from "./dial.js";
import type { Connected, Dial } from "./dial.js";
import { readClientHello } from "./read-hello.js";
import { readProxyHeader } from "./read-proxy-header.js";
import { refusePlainHttp, refuseTls, sayAndClose } from "./refuse.js";
import { Relay } from "./relay.js";
import { protocolsFor, terminateTls } from "./terminate.js";

/** What every connection of an engine shares. Routes and certificates are read once, after the ClientHello. */
export interface Engine {
  readonly limits: Limits;
  readonly dial: Dial;
  readonly apps: CountLimit;
  readonly instances: CountLimit;
  readonly routes: () => RouteTable;
  readonly secureContext: (name: ServerName) => SecureContext | undefined;
  readonly lookup:
    ((domain: ServerName, source: string) => Promise<CustomDestination | undefined>) | undefined;
}

const BAD_GATEWAY_TEXT = "The app does not answer on this port now.\n";
const BAD_GATEWAY = Buffer.from(
  "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n" +
    `Content-Length: ${BAD_GATEWAY_TEXT.length}\r\nConnection: close\r\n\r\n${BAD_GATEWAY_TEXT}`,
);

/** One accepted connection, from its first byte to its end. */
export class Connection {
  readonly #started = performance.now();
  readonly #since = Date.now();
  readonly #closing = new AbortController();
  #state: ConnectionState = "hello";
  #source: string;
  #spokenFor: ProxyAddresses | undefined;
  #relay: Relay | undefined;
  #ended: "drained" | "shutdown" | undefined;
  #error: unknown;
  #serverName: ServerName | undefined;
  #mode: RouteMode | undefined;
  #appId: string | undefined;
  #instanceId: string | undefined;
  #handshakeMs: number | undefined;
  #connectMs: number | undefined;

  constructor(
    readonly id: number,
    readonly engine: Engine,
    readonly socket: Socket,
    source: string,
    readonly passthroughOnly: boolean,
    /** Where a balancer has to say first for whom it speaks: counts that source. False: there are too many of it. */
    readonly countSource: ((source: string) => boolean) | undefined,
  ) {
    this.#source = source;
    // Whatever happens to the socket, the step that waits for it sees it close.
    socket.on("error", () => {});
    socket.once("close", () => this.#closing.abort());
  }

  /** Carries the connection through. Never rejects. */
  async run(): Promise<ConnectionReport> {
    let outcome: ConnectionReport["outcome"];
    try {
      outcome = await this.#carry();
      if (this.#ended !== undefined) outcome = this.#ended;
    } catch (err) {
      outcome = "internal_error";
      this.#error = err;
      this.close("shutdown");
    }
    return {
      source: this.#source,
      serverName: this.#serverName,
      mode: this.#mode,
      appId: this.#appId,
      instanceId: this.#instanceId,
      outcome,
      handshakeMs: this.#handshakeMs,
      connectMs: this.#connectMs,
      durationMs: performance.now() - this.#started,
      bytesToApp: this.#relay?.bytesToApp ?? 0,
      bytesToClient: this.#relay?.bytesToClient ?? 0,
      ...(this.#error === undefined ? {} : { error: this.#error }),
    };
  }

  /** As it is now. */
  get open(): OpenConnection {
    return {
      id: this.id,
      source: this.#source,
      serverName: this.#serverName,
      mode: this.#mode,
      appId: this.#appId,
      instanceId: this.#instanceId,
      state: this.#state,
      since: this.#since,
      bytesToApp: this.#relay?.bytesToApp ?? 0,
      bytesToClient: this.#relay?.bytesToClient ?? 0,
    };
  }

  /** Ends it when it has been silent, or open, for too long. Called about once a second. */
  checkTime(now: number): void {
    const relay = this.#relay;
    if (relay === undefined) return; // the steps before have deadlines of their own
    const { idleMs, halfClosedMs, totalMs } = this.engine.limits;
    const silentMs = now - relay.lastActivity;
    if (silentMs > (relay.halfClosed ? Math.min(halfClosedMs, idleMs) : idleMs)) relay.end("idle");
    else if (totalMs > 0 && now - this.#started > totalMs) relay.end("total_time");
  }

  close(reason: "drained" | "shutdown"): void {
    this.#ended = reason;
    this.#closing.abort();
    this.#relay?.end(reason);
    this.socket.destroy();
  }

  async #carry(): Promise<CloseReason | RefusalReason> {
    const { firstByteMs, helloMs } = this.engine.limits;
    if (this.countSource !== undefined) {
      const says = await readProxyHeader(this.socket, helloMs);
      if (says.kind === "bad_proxy_header") sayAndClose(this.socket, undefined);
      else if (says.kind !== "whole") this.socket.destroy();
      if (says.kind !== "whole") return says.kind;
      this.#spokenFor = says.addresses;
      // Without addresses it is a look whether we are there, and counts for nobody.
      if (says.addresses !== undefined) this.#source = says.addresses.source.address;
      if (says.addresses !== undefined && !this.countSource(this.#source)) {
        this.socket.resetAndDestroy();
        return "too_many_of_source";
      }
    }
    // One deadline for both.
    const leftMs = Math.max(0, helloMs - (performance.now() - this.#started));
    const first = await readClientHello(this.socket, { firstByteMs, helloMs: leftMs });
    if (first.kind === "hello") return this.#route(first.hello);
    if (first.kind === "plain_http") refusePlainHttp(this.socket);
    else if (first.kind === "bad_hello") refuseTls(this.socket, "decode_error");
    else if (first.kind === "not_tls") refuseTls(this.socket, first.alert);
    else this.socket.destroy();
    return first.kind;
  }

  async #route(hello: ClientHello): Promise<CloseReason | RefusalReason> {
    this.#serverName = hello.serverName;
    if (hello.serverName === undefined) return this.#refuse("no_name");
    const destination = await this.#destination(hello.serverName);
    // One answer to everything that is not there: whether an id exists, or a port is closed to the public, stays ours.
    if (destination === undefined) return this.#refuse("unknown_name");
    const { id, mode, port } = destination;
    const backends = backendsOn(this.engine.routes(), id, port);
    if (backends === undefined) return this.#refuse("unknown_name");
    const appId = backends[0]?.appId;
    if (appId === undefined) return this.#refuse("port_not_allowed");
    this.#mode = mode;
    this.#appId = appId;
    const leave = this.engine.apps.enter(appId);
    if (leave === undefined) return this.#refuse("too_many_of_app", "internal_error");
    try {
      if (mode === "passthrough") return await this.#passThrough(backends, port);
      return await this.#terminate(mode, hello, hello.serverName, backends, port);
    } finally {
      leave();
    }
  }

  async #destination(name: ServerName): Promise<AppDestination | undefined> {
    const destination = parseDestination(name, this.engine.routes().baseDomains, this.passthroughOnly);
    if (destination.kind === "app") return destination;
    if (destination.kind === "unknown") return undefined;
    const { lookup, limits } = this.engine;
    if (lookup === undefined) return undefined;
    this.#state = "lookup";
    const custom = await withDeadline(
      "looking up a custom domain",
      limits.lookupMs,
      () => lookup(destination.domain, sourceKey(this.#source)),
      this.#closing.signal,
    ).catch(() => undefined);
    return custom === undefined ? undefined : { ...custom, mode: "passthrough" };
  }

  async #passThrough(backends: readonly Backend[], port: number): Promise<CloseReason | RefusalReason> {
    const connected = await this.#connect(backends, port);
    if (connected === undefined) return this.#refuse("connect_failed", "internal_error");
    return this.#relayTo(this.socket, connected, port);
  }

  async #terminate(
    mode: "terminate" | "http2",
    hello: ClientHello,
    name: ServerName,
    backends: readonly Backend[],
    port: number,
  ): Promise<CloseReason | RefusalReason> {
    const secureContext = this.engine.secureContext(name);
    if (secureContext === undefined) return this.#refuse("unknown_name");
    const started = performance.now();
    this.#state = "handshake";
    let client;
    try {
      client = await terminateTls(this.socket, {
        secureContext,
        protocols: protocolsFor(mode, hello),
        limitMs: this.engine.limits.handshakeMs,
      });
    } catch {
      return "handshake_failed";
    }
    this.#handshakeMs = performance.now() - started;
    // Only now: a bare ClientHello must not make us knock on anybody's door.
    const connected = await this.#connect(backends, port);
    if (connected === undefined) {
      sayAndClose(client, client.alpnProtocol === "http/1.1" ? BAD_GATEWAY : undefined);
      return "connect_failed";
    }
    return this.#relayTo(client, connected, port);
  }

  async #connect(backends: readonly Backend[], port: number): Promise<Connected | undefined> {
    const started = performance.now();
    this.#state = "connecting";
    const connected = await raceToConnect(backends, port, {
      dial: this.engine.dial,
      limitMs: this.engine.limits.connectMs,
      signal: this.#closing.signal,
    });
    this.#connectMs = performance.now() - started;
    return connected;
  }

  async #relayTo(
    client: Socket,
    { socket, backend }: Connected,
    port: number,
  ): Promise<CloseReason | RefusalReason> {
    if (this.#closing.signal.aborted) {
      socket.destroy();
      client.destroy();
      return "client_gone";
    }
    this.#instanceId = backend.instanceId;
    this.#state = "relaying";
    const leave = this.engine.instances.enter(backend.instanceId);
    try {
      if (backend.proxyProtocolPorts?.includes(port) === true) {
        socket.write(proxyHeader(this.#addresses(), this.#serverName ?? ""));
      }
      this.#relay = new Relay(client, socket);
      return await this.#relay.finished;
    } finally {
      leave?.();
    }
  }

  #addresses(): ProxyAddresses {
    const {
      remoteAddress = "0.0.0.0",
      remotePort = 0,
      localAddress = "0.0.0.0",
      localPort = 0,
    } = this.socket;
    return (
      this.#spokenFor ?? {
        source: { address: remoteAddress, port: remotePort },
        destination: { address: localAddress, port: localPort },
      }
    );
  }

  #refuse(
    reason: RefusalReason,
    alert: "unrecognized_name" | "internal_error" = "unrecognized_name",
  ): RefusalReason {
    refuseTls(this.socket, alert);
    return reason;
  }
}
