import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { Server, ServerOptions } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { SecureContextOptions, TlsOptions } from "node:tls";
import { InputError } from "@dstack/core";
import { LogController, fastify } from "fastify";
import type { FastifyBaseLogger, FastifyInstance, FastifyReply } from "fastify";
import type { Logger } from "./logger.js";
import { answerMalformedRequest } from "./malformed-request.js";

/** wire.md "limits": the largest request body unless a method says otherwise. */
export const DEFAULT_BODY_LIMIT_BYTES = 10 * 2 ** 20;

export interface HttpLimits {
  /** From the first byte of a connection or request to the end of its headers. */
  headersMs: number;
  /** From the first byte of a request to the end of its body. */
  requestMs: number;
  /** Between two requests on one connection. */
  keepAliveMs: number;
  /** How often the limits are looked at. */
  checkMs: number;
  /** All headers of a request together. */
  headerBytes: number;
  /** At a time; further ones are closed at once. Each costs a file descriptor before it has said who it is. */
  connections: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  headersMs: 10_000,
  requestMs: 60_000,
  keepAliveMs: 75_000,
  checkMs: 1_000,
  headerBytes: 32 * 1024,
  connections: 4096,
};

export interface AppOptions {
  log: Logger;
  /** Bytes; {@link DEFAULT_BODY_LIMIT_BYTES} unless given. */
  bodyLimit?: number;
  /** Serve HTTPS with these options. */
  tls?: SecureContextOptions & TlsOptions;
  limits?: Partial<HttpLimits>;
}

/** A status an error carries for the caller (fastify's own errors and RpcErrors do), if it is the caller's fault. */
function callerStatus(err: unknown): number | undefined {
  if (err instanceof InputError) return 400;
  if (typeof err !== "object" || err === null || !("statusCode" in err)) return undefined;
  const status = err.statusCode;
  return typeof status === "number" && status >= 400 && status < 500 ? status : undefined;
}

function serverOptions(limits: HttpLimits): ServerOptions {
  return {
    headersTimeout: limits.headersMs,
    requestTimeout: limits.requestMs,
    keepAliveTimeout: limits.keepAliveMs,
    connectionsCheckingInterval: limits.checkMs,
    maxHeaderSize: limits.headerBytes,
  };
}

/**
 * An HTTP application with our habits: every request has an id (in the log and in `x-request-id`), a client that
 * sends too slowly is cut off, an error answers `{"error": "<sentence>"}` and an unexpected one says nothing but
 * `internal error` and the request id. Listen with `listenHttp`.
 */
export function createApp(options: AppOptions): FastifyInstance {
  const limits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
  const app: FastifyInstance = fastify({
    loggerInstance: options.log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.bodyLimit ?? DEFAULT_BODY_LIMIT_BYTES,
    // Ids are ours: one taken from the caller could be made to collide with another's in the log.
    genReqId: () => randomBytes(8).toString("hex"),
    requestIdHeader: false,
    forceCloseConnections: "idle",
    clientErrorHandler: (err, socket) => answerMalformedRequest(err, socket),
    // A URL that cannot be decoded or routed.
    frameworkErrors: (err, _request, reply) => {
      const answer = reply as unknown as FastifyReply;
      void answer.code(err.statusCode ?? 400).send({ error: err.message });
    },
    routerOptions: { maxParamLength: 512 },
    serverFactory: (handler) =>
      options.tls === undefined
        ? createServer(serverOptions(limits), handler)
        : (createTlsServer({ ...serverOptions(limits), ...options.tls }, handler) as unknown as Server),
  });
  app.server.maxConnections = limits.connections;
  // Nothing can be answered where the handshake failed; the listener that would try comes after this one.
  app.server.prependListener("tlsClientError", (_err: Error, socket: Socket) => socket.destroy());
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  app.setErrorHandler((err, request, reply) => {
    const status = callerStatus(err);
    if (status !== undefined && err instanceof Error) return reply.code(status).send({ error: err.message });
    request.log.error({ err, method: request.method, url: request.url }, "request failed");
    return reply.code(500).send({ error: `internal error (request ${request.id})` });
  });
  app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: "not found" }));
  return app;
}
