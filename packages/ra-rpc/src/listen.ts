import { createServer as createTlsServer } from "node:tls";
import type { Server as TlsServer, TLSSocket } from "node:tls";
import { ResourceStack, createApp, listenHttp } from "@dstack/daemon";
import type { HttpLimits, Logger } from "@dstack/daemon";
import { mountPrpc, serveGrpc } from "@dstack/prpc";
import type { Admission, MountOptions, ServiceImpl } from "@dstack/prpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { DEFAULT_VERIFY_MS, admitPeer } from "./admission.js";
import type { Verifier } from "./admission.js";
import { limitConnections } from "./connection-limit.js";
import { holdUntilAdmitted } from "./hold.js";
import { DEFAULT_HANDSHAKE_MS, serverTlsOptions } from "./tls.js";
import type { ServerIdentity } from "./tls.js";

/** A connection's evidence is verified once. After this time it takes one more request and is closed. */
const MAX_CONNECTION_AGE_MS = 3_600_000;

/** Verifying costs CPU and memory, and anybody can ask for it. */
const DEFAULT_MAX_PENDING = 256;

/** Each costs memory and a descriptor, and anybody can open them. The VMs of one host come from one address. */
const DEFAULT_MAX_CONNECTIONS = 4096;
const DEFAULT_MAX_PER_SOURCE = 128;

/** Who is behind a request. */
export type PeerOf = (request: FastifyRequest) => Admission<VerifiedPeer>;

export interface RaRpcLimits {
  handshakeMs: number;
  /** Verifying one peer's evidence, fetching collateral included. */
  verifyMs: number;
  /** Connections whose certificates are being verified at one time; further ones that show one are dropped. */
  maxPending: number;
  /** Connections open at one time; further ones are closed at once. */
  maxConnections: number;
  /** The same, from one IPv4 address or IPv6 /64. */
  maxPerSource: number;
  http: Partial<HttpLimits>;
}

export interface RaRpcOptions extends ServerIdentity {
  host: string;
  /** 0 = any free one. */
  port: number;
  /** Judges client certificates; without it none is asked for and no caller is attested. */
  verifier?: Verifier;
  /** Served by the pRPC rules. */
  services?: readonly ServiceImpl<VerifiedPeer>[];
  /** Further routes, or services mounted with other options. */
  mount?: (app: FastifyInstance, peerOf: PeerOf) => void;
  /** How the services are mounted. */
  mountOptions?: Omit<MountOptions<VerifiedPeer>, "peer">;
  /** Also serve the services over gRPC on this port (0 = any free one). */
  grpcPort?: number;
  /** Bytes of a request body unless a method says otherwise; 10 MiB unless given. */
  bodyLimit?: number;
  log: Logger;
  limits?: Partial<RaRpcLimits>;
}

export interface RaRpcListener extends AsyncDisposable {
  readonly port: number;
  readonly grpcPort: number | undefined;
  /** `https://host:port` */
  readonly url: string;
  /** New connections get this key and certificate. */
  renew(identity: ServerIdentity): void;
}

/**
 * Listens for attested callers: TLS 1.3 without resumption, a client certificate asked for but not required, its
 * evidence verified before any byte of a request is parsed. Guard methods with {@link attested} or call
 * {@link requireAttested}.
 */
export async function listenRaRpc(options: RaRpcOptions): Promise<RaRpcListener> {
  const { log, verifier, services = [] } = options;
  const handshakeMs = options.limits?.handshakeMs ?? DEFAULT_HANDSHAKE_MS;
  const verifyMs = options.limits?.verifyMs ?? DEFAULT_VERIFY_MS;
  const maxPending = options.limits?.maxPending ?? DEFAULT_MAX_PENDING;
  const limitServer = limitConnections({
    all: options.limits?.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
    perSource: options.limits?.maxPerSource ?? DEFAULT_MAX_PER_SOURCE,
  });
  const asksForCertificate = verifier !== undefined;
  const httpTls = (identity: ServerIdentity) =>
    serverTlsOptions(identity, { asksForCertificate, handshakeMs, protocol: "http/1.1" });
  const grpcTls = (identity: ServerIdentity) =>
    serverTlsOptions(identity, { asksForCertificate, handshakeMs, protocol: "h2" });

  let pending = 0;
  const admit = async (socket: TLSSocket): Promise<Admission<VerifiedPeer>> => {
    // Who shows no certificate is nobody, however many are being verified: a question of health waits for no place.
    if (verifier === undefined || socket.getPeerX509Certificate() === undefined) return {};
    if (pending >= maxPending) throw new Error("too many connections are being verified");
    pending += 1;
    const admission = await admitPeer(socket, verifier, verifyMs).finally(() => (pending -= 1));
    if (admission.peerError !== undefined) {
      log.warn(
        { err: admission.peerError, remoteAddress: socket.remoteAddress },
        "evidence of a client refused",
      );
    }
    return admission;
  };

  await using stack = new ResourceStack();
  const app = createApp({
    log,
    tls: httpTls(options),
    ...(options.bodyLimit === undefined ? {} : { bodyLimit: options.bodyLimit }),
    ...(options.limits?.http === undefined ? {} : { limits: options.limits.http }),
  });
  const admitted = new WeakMap<object, { admission: Admission<VerifiedPeer>; at: number }>();
  const server = app.server as unknown as TlsServer;
  limitServer(server);
  holdUntilAdmitted(server, async (socket) => {
    admitted.set(socket, { admission: await admit(socket), at: Date.now() });
  });
  const peerOf: PeerOf = (request) => admitted.get(request.raw.socket)?.admission ?? {};
  app.addHook("onRequest", async (request, reply) => {
    const age = Date.now() - (admitted.get(request.raw.socket)?.at ?? 0);
    if (age > MAX_CONNECTION_AGE_MS) reply.header("connection", "close");
  });
  if (services.length > 0) mountPrpc(app, services, { ...options.mountOptions, peer: peerOf });
  options.mount?.(app, peerOf);
  const listener = stack.use(await listenHttp({ app, address: { host: options.host, port: options.port } }));

  let grpcServer: TlsServer | undefined;
  let grpcPort: number | undefined;
  if (options.grpcPort !== undefined) {
    grpcServer = createTlsServer(grpcTls(options));
    limitServer(grpcServer);
    const { host } = options;
    const grpc = await serveGrpc({
      services,
      host,
      port: options.grpcPort,
      log,
      tlsServer: grpcServer,
      admit,
    });
    grpcPort = stack.use(grpc).port;
  }

  const resources = stack.move();
  const host = options.host.includes(":") ? `[${options.host}]` : options.host;
  return {
    port: listener.port,
    grpcPort,
    url: `https://${host}:${listener.port}`,
    renew(identity) {
      server.setSecureContext(httpTls(identity));
      grpcServer?.setSecureContext(grpcTls(identity));
    },
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}
