import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import type { Server as NetServer, Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Server as TlsServer } from "node:tls";
import { withDeadline } from "@dstack/core";
import { Server, ServerCredentials, ServerInterceptingCall } from "@grpc/grpc-js";
import type { ServerInterceptor, handleUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import type { FastifyBaseLogger } from "fastify";
import { RpcError, toRpcError } from "../rpc-error.js";
import type { Admission, Call, MethodImpl, ServiceImpl } from "../service.js";
import { binaryForm } from "../wire-form.js";
import { methodPath, rawMethod } from "./definition.js";
import { addHealthService } from "./health.js";
import { addReflectionService } from "./reflection.js";
import { grpcStatus } from "./status.js";

/** wire.md "limits". */
const DEFAULT_BODY_LIMIT_BYTES = 10 * 2 ** 20;
/** How long calls in flight may take to finish once the server is closed. */
const CLOSE_GRACE_MS = 2_000;
/** A connection's evidence is verified once; after this it has to be shown again on a new one. */
const MAX_CONNECTION_AGE_MS = 3_600_000;
/** A connection without a call is closed after this time. */
const MAX_CONNECTION_IDLE_MS = 300_000;

export interface GrpcOptions<P> {
  services: readonly ServiceImpl<P>[];
  host: string;
  /** 0 = any free one. */
  port: number;
  log: FastifyBaseLogger;
  /** A TLS server (ALPN `h2`) that makes the connections; plain TCP unless given. It is closed with the rest. */
  tlsServer?: TlsServer;
  /** Awaited for every connection before a byte of HTTP/2 is read; rejecting drops the connection. */
  admit?: (socket: TLSSocket) => Promise<Admission<P>>;
}

interface Connection<P> extends Admission<P> {
  remoteAddress: string;
}

/** The connections of a server by what `getPeer()` answers for their calls. */
class Connections<P> {
  readonly #byLabel = new Map<string, Connection<P>>();

  /**
   * grpc-js tells a handler no more of its connection than the socket's `remoteAddress:remotePort`, which two
   * connections to different addresses of ours can share. A label of our own in its place cannot be confused.
   */
  add(socket: Socket, admission: Admission<P>): void {
    const label = randomBytes(16).toString("hex");
    this.#byLabel.set(label, { ...admission, remoteAddress: socket.remoteAddress ?? "unknown" });
    Object.defineProperty(socket, "remoteAddress", { value: label });
    Object.defineProperty(socket, "remotePort", { value: undefined });
    socket.once("close", () => this.#byLabel.delete(label));
  }

  /** @throws {RpcError} the connection is already gone */
  call(label: string, signal: AbortSignal): Call<P> {
    const connection = this.#byLabel.get(label);
    if (connection === undefined) throw new RpcError("unavailable", "the connection is closed");
    return { peer: undefined, ...connection, signal, requestId: randomBytes(8).toString("hex") };
  }
}

/** Logs a failure and gives it the form callers see. */
function failure(
  log: FastifyBaseLogger,
  rpc: string,
  requestId: string,
  err: unknown,
): ReturnType<typeof grpcStatus> {
  const error = toRpcError(err);
  if (error.code !== "internal") {
    log.info({ rpc, reqId: requestId, reason: error.message }, "rpc refused");
    return grpcStatus(error);
  }
  log.error({ rpc, reqId: requestId, err }, "rpc failed");
  return grpcStatus(new RpcError("internal", `internal error (request ${requestId})`));
}

/** Runs the guard when the headers have come; a refused call's message is not read. */
function guardInterceptor<P>(
  methods: ReadonlyMap<string, MethodImpl<P>>,
  connections: Connections<P>,
  log: FastifyBaseLogger,
): ServerInterceptor {
  return (definition, call) =>
    new ServerInterceptingCall(call, {
      start: (next) => {
        next({
          onReceiveMetadata: (metadata, proceed) => {
            const method = methods.get(definition.path);
            if (method === undefined) {
              proceed(metadata);
              return;
            }
            const guard = async (): Promise<void> => {
              const gone = new AbortController();
              await method.guard(connections.call(call.getPeer(), gone.signal));
            };
            guard().then(
              () => proceed(metadata),
              (err: unknown) =>
                call.sendStatus(failure(log, definition.path, randomBytes(8).toString("hex"), err)),
            );
          },
        });
      },
    });
}

function unaryHandler<P>(
  method: MethodImpl<P>,
  path: string,
  connections: Connections<P>,
  log: FastifyBaseLogger,
): handleUnaryCall<Buffer, Buffer> {
  return (grpcCall, done: sendUnaryData<Buffer>) => {
    const gone = new AbortController();
    grpcCall.on("cancelled", () => gone.abort(new Error("the caller went away")));
    let requestId = "";
    const run = async (): Promise<Buffer> => {
      const call = connections.call(grpcCall.getPeer(), gone.signal);
      requestId = call.requestId;
      const limit = method.bodyLimit ?? DEFAULT_BODY_LIMIT_BYTES;
      if (grpcCall.request.length > limit) throw new RpcError("too_large", "request body is too large");
      const message = binaryForm.readRequest(method.desc.input, grpcCall.request);
      return Buffer.from(binaryForm.writeResponse(method.desc.output, await method.invoke(message, call)));
    };
    run().then(
      (answer) => {
        log.debug({ rpc: path, reqId: requestId }, "rpc answered");
        done(null, answer);
      },
      (err: unknown) => done(failure(log, path, requestId, err)),
    );
  };
}

function register<P>(
  server: Server,
  methods: ReadonlyMap<string, MethodImpl<P>>,
  make: (method: MethodImpl<P>, path: string) => handleUnaryCall<Buffer, Buffer>,
): void {
  for (const [path, method] of methods) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    server.addService(
      { [name]: rawMethod(method.desc.parent, name, "unary") },
      { [name]: make(method, path) },
    );
  }
}

/**
 * Serves the same services, handlers and guards over gRPC, with server reflection (v1, v1alpha) and the standard
 * health service. Connections are accepted and judged by our own server and handed to grpc-js, which cannot see an
 * RA-TLS peer itself.
 */
export async function serveGrpc<P>(
  options: GrpcOptions<P>,
): Promise<AsyncDisposable & { readonly port: number }> {
  const { services, log } = options;
  const methods = new Map<string, MethodImpl<P>>();
  for (const { desc, methods: own } of services) {
    for (const [name, method] of own) methods.set(methodPath(desc, name), method);
  }
  const limits = [
    DEFAULT_BODY_LIMIT_BYTES,
    ...Array.from(methods.values(), (method) => method.bodyLimit ?? 0),
  ];
  const connections = new Connections<P>();
  const server = new Server({
    interceptors: [guardInterceptor(methods, connections, log)],
    "grpc.max_receive_message_length": Math.max(...limits),
    "grpc.max_connection_age_ms": MAX_CONNECTION_AGE_MS,
    "grpc.max_connection_idle_ms": MAX_CONNECTION_IDLE_MS,
    "grpc.enable_channelz": 0,
  });
  register(server, methods, (method, path) => unaryHandler(method, path, connections, log));
  addHealthService(
    server,
    services.map(({ desc }) => desc.typeName),
  );
  addReflectionService(
    server,
    services.map(({ desc }) => desc),
  );
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());

  const sockets = new Set<Socket>();
  const accept = async (socket: Socket): Promise<void> => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    const admission = socket instanceof TLSSocket ? ((await options.admit?.(socket)) ?? {}) : {};
    if (socket.destroyed) return;
    connections.add(socket, admission);
    injector.injectConnection(socket);
  };
  const onConnection = (socket: Socket): void => {
    accept(socket).catch(() => socket.destroy());
  };
  const listener: NetServer = options.tlsServer ?? createServer();
  listener.on(options.tlsServer === undefined ? "connection" : "secureConnection", onConnection);
  listener.listen(options.port, options.host);
  await once(listener, "listening");
  const bound = listener.address();

  return {
    port: typeof bound === "object" && bound !== null ? bound.port : options.port,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => listener.close(resolve));
      injector.drain(CLOSE_GRACE_MS);
      await withDeadline("closing gRPC connections", CLOSE_GRACE_MS, () => closed).catch(() => {
        for (const socket of sockets) socket.destroy();
      });
      injector.destroy();
      server.forceShutdown();
      await closed;
    },
  };
}
