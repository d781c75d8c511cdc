import { constants } from "node:crypto";
import { BlockList, createServer, isIPv6 } from "node:net";
import type { Server, Socket } from "node:net";
import { createSecureContext } from "node:tls";
import type { SecureContext } from "node:tls";
import { CountLimit, sourceKey } from "@dstack/core";
import { certificatesByName, forServerName } from "../certificate.js";
import type { CheckedCertificate } from "../certificate.js";
import type {
  ConnectionReport,
  DataPlane,
  DataPlaneOptions,
  DataPlaneStats,
  DrainScope,
  OpenConnection,
  RouteTable,
} from "../data-plane.js";
import { waitUntilGone } from "../drain.js";
import { parsePrefix } from "../ip-bytes.js";
import { DEFAULT_LIMITS, TICKET_KEY_MS } from "../limits.js";
import type { Limits } from "../limits.js";
import { Connection } from "./connection.js";
import type { Engine } from "./connection.js";
import { dialTcp } from "./dial.js";
import type { Dial } from "./dial.js";

export interface JsDataPlaneOptions extends DataPlaneOptions {
  readonly limits?: Partial<Limits>;
  /** Leads connections to instances elsewhere; for tests in one process. */
  readonly dial?: Dial;
}

/** How often idle and total time are looked at. */
const TIME_CHECK_MS = 1_000;
const BACKLOG = 4_096;

/**
 * The data plane in plain Node: runs anywhere, and is what other engines are measured against.
 * @throws a system error when a listener cannot be bound; nothing stays open then
 */
export async function createJsDataPlane(options: JsDataPlaneOptions): Promise<DataPlane> {
  const plane = new JsDataPlane(options);
  try {
    for (const listener of options.listeners) {
      plane.listeners.push({ host: listener.host, port: await plane.listen(listener) });
    }
  } catch (err) {
    await plane.close();
    throw err;
  }
  return plane;
}

class JsDataPlane implements DataPlane {
  readonly listeners: { host: string; port: number }[] = [];
  /** Empty while it does not accept. */
  readonly #servers: Server[] = [];
  #lastId = 0;
  readonly #connections = new Set<Connection>();
  /** Also those that are only reading their refusal. */
  readonly #sockets = new Set<Socket>();
  readonly #running = new Set<Promise<void>>();
  readonly #limits: Limits;
  readonly #sources: CountLimit;
  readonly #engine: Engine;
  readonly #onConnection: (report: ConnectionReport) => void;
  readonly #timeCheck: NodeJS.Timeout;
  readonly #ticketKeys: NodeJS.Timeout;
  readonly #closing = new AbortController();
  #routes: RouteTable;
  #certificates: readonly CheckedCertificate[] = [];
  #secureContexts: ReadonlyMap<string, SecureContext> = new Map();

  constructor(readonly options: JsDataPlaneOptions) {
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#sources = new CountLimit(this.#limits.connectionsPerSource);
    this.#routes = options.routes;
    this.#onConnection = options.onConnection ?? (() => {});
    this.#engine = {
      limits: this.#limits,
      dial: options.dial ?? dialTcp,
      apps: new CountLimit(this.#limits.connectionsPerApp),
      instances: new CountLimit(Infinity),
      routes: () => this.#routes,
      secureContext: (name) => forServerName(this.#secureContexts, name),
      lookup: options.lookup,
    };
    this.setCertificates(options.certificates ?? []);
    this.#ticketKeys = setInterval(() => this.setCertificates(this.#certificates), TICKET_KEY_MS);
    this.#ticketKeys.unref();
    this.#timeCheck = setInterval(() => {
      const now = performance.now();
      for (const connection of this.#connections) connection.checkTime(now);
    }, TIME_CHECK_MS);
    this.#timeCheck.unref();
  }

  /** @returns the port that was bound */
  async listen(listener: DataPlaneOptions["listeners"][number]): Promise<number> {
    const balancers = prefixes(listener.proxyProtocolFrom ?? []);
    const server = createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true }, (socket) =>
      this.#accept(socket, listener.passthroughOnly ?? false, balancers),
    );
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: listener.host, port: listener.port, backlog: BACKLOG }, () => {
        server.off("error", reject);
        // An accept that fails for want of descriptors must not end the process; the next one may succeed.
        server.on("error", () => {});
        resolve();
      });
    });
    this.#servers.push(server);
    const address = server.address();
    return typeof address === "object" && address !== null ? address.port : listener.port;
  }

  setRoutes(routes: RouteTable): void {
    this.#routes = routes;
  }

  setCertificates(certificates: readonly CheckedCertificate[]): void {
    // Each has a context of its own, and in it its own key for tickets: no other one resumes its sessions.
    const contexts = new Map(certificates.map((certificate) => [certificate, secureContextOf(certificate)]));
    const byName = [...certificatesByName(certificates)].flatMap(([name, certificate]) => {
      const context = contexts.get(certificate);
      return context === undefined ? [] : [[name, context] as const];
    });
    this.#certificates = certificates;
    this.#secureContexts = new Map(byName);
  }

  stats(): DataPlaneStats {
    return {
      open: this.#connections.size,
      openByApp: this.#engine.apps.counts(),
      openByInstance: this.#engine.instances.counts(),
    };
  }

  async connections(most: number): Promise<readonly OpenConnection[]> {
    const newest = [...this.#connections].slice(Math.max(0, this.#connections.size - most));
    return newest.reverse().map((connection) => connection.open);
  }

  async setAccepting(accepting: boolean): Promise<void> {
    if (!accepting) {
      // Each says that it is closed when its connections are, too; it stops listening at once.
      for (const server of this.#servers.splice(0)) server.close();
    } else if (this.#servers.length === 0) {
      try {
        for (const [index, listener] of this.options.listeners.entries()) {
          await this.listen({ ...listener, port: this.listeners[index]?.port ?? listener.port });
        }
      } catch (err) {
        // All of them or none: the next attempt begins anew.
        for (const server of this.#servers.splice(0)) server.close();
        throw err;
      }
    }
  }

  async drain(scope: DrainScope, limitMs: number, signal?: AbortSignal): Promise<void> {
    const signals = signal === undefined ? [] : [signal];
    const until = AbortSignal.any([this.#closing.signal, ...signals]);
    await waitUntilGone(() => this.stats(), scope, limitMs, until);
    for (const connection of this.#connections) {
      if (scope === "all" || connection.open.instanceId === scope.instanceId) connection.close("drained");
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    clearInterval(this.#timeCheck);
    clearInterval(this.#ticketKeys);
    for (const server of this.#servers.splice(0)) server.close();
    for (const connection of this.#connections) connection.close("shutdown");
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #accept(socket: Socket, passthroughOnly: boolean, balancers: BlockList): void {
    const source = socket.remoteAddress ?? "";
    if (this.#sockets.size >= this.#limits.connections) {
      this.#turnAway(socket, source, "too_many");
      return;
    }
    const countSource = (of: string): boolean => {
      const leave = this.#sources.enter(sourceKey(of));
      // Not when its report is made: a refused client that does not go away holds a descriptor for a while yet.
      if (leave !== undefined) socket.once("close", leave);
      return leave !== undefined;
    };
    const isFromBalancer = balancers.check(source, isIPv6(source) ? "ipv6" : "ipv4");
    if (!isFromBalancer && !countSource(source)) {
      this.#turnAway(socket, source, "too_many_of_source");
      return;
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    const connection = new Connection(
      ++this.#lastId,
      this.#engine,
      socket,
      source,
      passthroughOnly,
      isFromBalancer ? countSource : undefined,
    );
    this.#connections.add(connection);
    const run = connection.run().then((report) => {
      this.#connections.delete(connection);
      this.#running.delete(run);
      this.#onConnection(report);
    });
    this.#running.add(run);
  }

  /** Costs as little as possible: whoever is over a limit may come back at once, many times a second. */
  #turnAway(socket: Socket, source: string, outcome: "too_many" | "too_many_of_source"): void {
    socket.on("error", () => {});
    socket.resetAndDestroy();
    this.#onConnection({
      source,
      serverName: undefined,
      mode: undefined,
      appId: undefined,
      instanceId: undefined,
      outcome,
      handshakeMs: undefined,
      connectMs: undefined,
      durationMs: 0,
      bytesToApp: 0,
      bytesToClient: 0,
    });
  }
}

function secureContextOf({ certPem, keyPem }: CheckedCertificate): SecureContext {
  return createSecureContext({
    cert: certPem,
    key: keyPem,
    minVersion: "TLSv1.2",
    // Node counts a client's renegotiations only for sockets of its own servers; each costs us a whole handshake.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  });
}

function prefixes(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const { address, bits } = parsePrefix(text);
    list.addSubnet(address, bits, isIPv6(address) ? "ipv6" : "ipv4");
  }
  return list;
}
