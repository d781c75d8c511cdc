import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { Duplex } from "node:stream";
import { TLSSocket, connect as connectTls, createServer as createTlsServer } from "node:tls";
import type { ConnectionOptions } from "node:tls";
import { Worker } from "node:worker_threads";
import { expect } from "vitest";
import type { Backend, DataPlane, DataPlaneOptions, RouteTable } from "../src/index.js";
import { makeCertificate } from "./certificates.js";

export const BASE = "app.example.org";
export const APP = "3327603e03f5bd1f830812ca4a789277fc31f577";
export const INSTANCE = "b".repeat(40);

/** Ours, for everything under the base domain. */
export const wildcard = makeCertificate(`*.${BASE}`);
/** The app's own, for passthrough. */
export const appCertificate = makeCertificate("app.internal");

export interface App extends AsyncDisposable {
  readonly port: number;
  /** Sockets as they came. */
  readonly sockets: Socket[];
}

function running(server: Server, sockets: Socket[]): App {
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** An app behind the proxy, in plain TCP. `behave` gets each connection, half-open allowed. */
export async function startApp(behave: (socket: Socket) => void, host = "127.0.0.1"): Promise<App> {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    behave(socket);
  });
  server.listen(0, host);
  await once(server, "listening");
  return running(server, sockets);
}

/** An app that listens and never accepts, and whose queue is full: who connects waits. */
export async function startDeafApp(): Promise<AsyncDisposable & { readonly port: number }> {
  const listen = `
    const { parentPort } = require("node:worker_threads");
    const server = require("node:net").createServer();
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const worker = new Worker(listen, { eval: true });
  const [port] = (await once(worker, "message")) as [number];
  const waiting: Socket[] = [];
  const joins = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      waiting.push(socket.on("error", () => {}));
      socket.once("connect", () => resolve(true));
      // Time may be up before this process has looked whether it is connected.
      socket.setTimeout(300, () => setImmediate(() => resolve(!socket.connecting)));
    });
  while (await joins());
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of waiting) socket.destroy();
      await worker.terminate();
    },
  };
}

/** An app that ends TLS itself. */
export async function startTlsApp(behave: (socket: TLSSocket) => void, alpn?: string[]): Promise<App> {
  const sockets: Socket[] = [];
  const options = { cert: appCertificate.certPem, key: appCertificate.keyPem, allowHalfOpen: true };
  const server = createTlsServer(
    { ...options, ...(alpn === undefined ? {} : { ALPNProtocols: alpn }) },
    (socket) => {
      socket.on("error", () => {});
      behave(socket);
    },
  );
  server.on("connection", (socket) => sockets.push(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return running(server, sockets);
}

export const backend = (host = "127.0.0.1", instanceId = INSTANCE): Backend => ({
  appId: APP,
  instanceId,
  host,
});

export function routesTo(...backends: Backend[]): RouteTable {
  const table = new Map<string, readonly Backend[]>([[APP, backends]]);
  for (const one of backends) table.set(one.instanceId, [one]);
  return { baseDomains: [BASE], backends: table, allowedPorts: [{ from: 1024, to: 65535 }] };
}

export const listenHere: DataPlaneOptions["listeners"] = [{ host: "127.0.0.1", port: 0 }];

export function portOf(plane: DataPlane, index = 0): number {
  return plane.listeners[index]?.port ?? 0;
}

function dial(plane: DataPlane, index = 0): Socket {
  return connect({ port: portOf(plane, index), host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
}

/** A raw connection to the proxy. */
export async function connectTcp(plane: DataPlane, index = 0): Promise<Socket> {
  const socket = dial(plane, index);
  await once(socket, "connect");
  return socket;
}

/** A connection that is not let in: the reset may come before the client sees it connected. */
export async function expectTurnedAway(plane: DataPlane): Promise<void> {
  expect(await closeOf(dial(plane))).toBe("reset");
}

const sessions = new WeakMap<TLSSocket, Buffer>();

/** The newest session a server has given this client. */
export function sessionOf(client: TLSSocket): Buffer | undefined {
  return sessions.get(client);
}

/** A ClientHello that OpenSSL finds nothing wrong with. */
export function realHello(servername: string): Promise<Buffer> {
  return new Promise((resolve) => {
    const nowhere = new Duplex({ read: () => {}, write: (chunk: Buffer) => resolve(chunk) });
    connectTls({ socket: nowhere, servername });
  });
}

export interface TlsClientOptions extends ConnectionOptions {
  /** Changes how the first bytes are written: gets the ClientHello, gives the pieces to send one after the other. */
  cut?: (hello: Buffer) => Buffer[];
}

/** A TLS client of the proxy, after its handshake. Trusts our test certificates. */
export async function connectThrough(
  plane: DataPlane,
  servername: string,
  { cut, ...options }: TlsClientOptions = {},
): Promise<TLSSocket> {
  const raw = await connectTcp(plane);
  const client = connectTls({
    socket: cut === undefined ? raw : cutFirstWrite(raw, cut),
    servername,
    ca: [wildcard.certPem, appCertificate.certPem],
    checkServerIdentity: () => undefined,
    ...options,
  });
  client.on("session", (session) => sessions.set(client, session));
  await once(client, "secureConnect");
  return client;
}

function cutFirstWrite(raw: Socket, cut: (hello: Buffer) => Buffer[]): Duplex {
  let first = true;
  const duplex = new Duplex({
    allowHalfOpen: true,
    read: () => raw.resume(),
    write(chunk: Buffer, _encoding, done) {
      const pieces = first ? cut(chunk) : [chunk];
      first = false;
      const next = (): void => {
        const piece = pieces.shift();
        if (piece === undefined) done();
        else raw.write(piece, () => setImmediate(next)); // separate segments: Nagle is off
      };
      next();
    },
    final: (done) => void raw.end(done),
    destroy: (err, done) => {
      raw.destroy();
      done(err);
    },
  });
  raw.on("data", (chunk: Buffer) => duplex.push(chunk) || raw.pause());
  raw.on("end", () => duplex.push(null));
  raw.on("error", (err) => duplex.destroy(err));
  return duplex;
}

/** Everything until the other side's end; ours stays open (an async iterator would destroy the socket). */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  if (!socket.readableEnded) await once(socket, "end");
  return Buffer.concat(chunks);
}

/** Waits until the other side has ended or reset the connection. */
export async function closeOf(socket: Socket): Promise<"ended" | "reset"> {
  let reset = false;
  socket.on("error", (err) => (reset = "code" in err && err.code === "ECONNRESET"));
  socket.once("end", () => socket.destroy());
  socket.resume();
  if (!socket.closed) await once(socket, "close").catch(() => {});
  return reset ? "reset" : "ended";
}
