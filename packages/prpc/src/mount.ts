import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { acceptUndercountedJson } from "./undercounted-json.js";
import { openApiDocument } from "./openapi.js";
import { RpcError, toRpcError } from "./rpc-error.js";
import type { Admission, Call, MethodImpl, ServiceImpl } from "./service.js";
import { binaryForm, jsonForm, queryForm } from "./wire-form.js";
import type { JsonFormOptions, WireForm } from "./wire-form.js";

/** A refused call's body is read and thrown away up to this size, so that the caller gets to see the answer. */
const DRAIN_LIMIT_BYTES = 64 * 1024;

export interface MountOptions<P = unknown> {
  /** Path before `/<Service>.<Method>`; `/prpc` unless given. */
  prefix?: string;
  /** Also serve `/<Method>` and `<prefix>/<Method>`. Where services share a method name, the first one has it. */
  bareMethods?: boolean;
  /** Answer JSON in pure ASCII (guest sockets). */
  asciiJson?: boolean;
  /** Put before `bytes` in JSON answers; "" unless given. */
  hexPrefix?: "" | "0x";
  /** Who is calling, as the listener verified it. */
  peer?: (request: FastifyRequest) => Admission<P>;
  /** Read JSON bodies whose Content-Length was counted in UTF-16 units (guest sockets). */
  lenientContentLength?: boolean;
}

interface Route<P> {
  path: string;
  name: string;
  method: MethodImpl<P>;
}

function routes<P>(
  services: readonly ServiceImpl<P>[],
  options: MountOptions<P>,
  prefix: string,
): Route<P>[] {
  const byPath = new Map<string, Route<P>>();
  const add = (path: string, name: string, method: MethodImpl<P>): void => {
    if (!byPath.has(path)) byPath.set(path, { path, name, method });
  };
  for (const { desc, methods } of services) {
    for (const [name, method] of methods) {
      const full = `${desc.name}.${method.desc.name}`;
      add(`${prefix}/${desc.name}.${name}`, full, method);
      if (options.bareMethods === true || services.length === 1) add(`${prefix}/${name}`, full, method);
      if (options.bareMethods === true) add(`/${name}`, full, method);
    }
  }
  return [...byPath.values()];
}

function queryOf(request: FastifyRequest): URLSearchParams {
  const start = request.url.indexOf("?");
  return new URLSearchParams(start < 0 ? "" : request.url.slice(start + 1));
}

/** wire.md: `?json` in the query (`?json=0` and `?json=false` excepted) or a JSON content type. */
function asksForJson(request: FastifyRequest, query: URLSearchParams): boolean {
  const flag = query.get("json");
  if (flag !== null) return flag !== "0" && flag !== "false";
  const type = request.headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase();
  return type === "application/json";
}

function formOf(request: FastifyRequest, options: JsonFormOptions): WireForm {
  const query = queryOf(request);
  if (request.method === "GET" || request.method === "HEAD") return queryForm(options, query);
  return asksForJson(request, query) ? jsonForm(options) : binaryForm;
}

function sendError(request: FastifyRequest, reply: FastifyReply, form: WireForm, err: unknown): FastifyReply {
  const known = toRpcError(err);
  const internal = known.code === "internal";
  const error = internal ? new RpcError("internal", `internal error (request ${request.id})`) : known;
  const facts = { url: request.url, status: error.status };
  if (internal) request.log.error({ ...facts, err }, "rpc failed");
  else request.log.info({ ...facts, reason: error.message }, "rpc refused");
  if (error.retryAfterSeconds !== undefined) reply.header("retry-after", String(error.retryAfterSeconds));
  const announced = Number(request.headers["content-length"] ?? 0);
  const unread =
    !request.raw.complete && (announced > DRAIN_LIMIT_BYTES || "transfer-encoding" in request.headers);
  if (unread) reply.header("connection", "close");
  return reply.code(error.status).header("content-type", form.contentType).send(form.writeError(error));
}

/** Aborts when the caller goes away before it has its answer. */
function abandoned(reply: FastifyReply): AbortSignal {
  const gone = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) gone.abort(new Error("the caller went away"));
  });
  return gone.signal;
}

const documents = new WeakMap<FastifyInstance, ServiceImpl<never>[]>();

/** `/openapi.json` of an application lists the services of all its mounts. */
function serveDocument<P>(app: FastifyInstance, services: readonly ServiceImpl<P>[], prefix: string): void {
  const mounted = documents.get(app);
  if (mounted !== undefined) {
    mounted.push(...services);
    return;
  }
  const all: ServiceImpl<never>[] = [...services];
  documents.set(app, all);
  app.get("/openapi.json", async () => openApiDocument(all, { prefix }));
}

/**
 * Serves services by the pRPC rules of wire.md: `POST <prefix>/<Service>.<Method>` in protobuf or JSON, `GET` with
 * the request in the query, and `/openapi.json`. A guard runs before the body is read.
 */
export function mountPrpc<P>(
  app: FastifyInstance,
  services: readonly ServiceImpl<P>[],
  options: MountOptions<P> = {},
): void {
  const prefix = options.prefix ?? "/prpc";
  const json: JsonFormOptions = { ascii: options.asciiJson ?? false, hexPrefix: options.hexPrefix ?? "" };
  const forms = new WeakMap<FastifyRequest, WireForm>();
  const calls = new WeakMap<FastifyRequest, Call<P>>();
  const formFor = (request: FastifyRequest): WireForm => forms.get(request) ?? formOf(request, json);

  if (options.lenientContentLength === true) acceptUndercountedJson(app.server);
  serveDocument(app, services, prefix);

  void app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", { parseAs: "buffer" }, (_request, body, done) => done(null, body));
    scope.setErrorHandler((err, request, reply) => sendError(request, reply, formFor(request), err));

    // Before guards and body: whatever the content type says beyond JSON or not, the body is bytes to us.
    scope.addHook("onRequest", async (request) => {
      forms.set(request, formOf(request, json));
      if ("content-type" in request.headers) request.headers["content-type"] = "application/octet-stream";
    });

    for (const { path, name, method } of routes(services, options, prefix)) {
      scope.route<{ Body: Uint8Array | undefined }>({
        method: ["GET", "POST"],
        url: path,
        exposeHeadRoute: false,
        ...(method.bodyLimit === undefined ? {} : { bodyLimit: method.bodyLimit }),
        onRequest: async (request, reply) => {
          const call: Call<P> = {
            peer: undefined,
            ...options.peer?.(request),
            signal: abandoned(reply),
            requestId: request.id,
            remoteAddress: request.ip ?? "unix",
          };
          calls.set(request, call);
          await method.guard(call);
        },
        handler: async (request, reply) => {
          const call = calls.get(request);
          if (call === undefined) throw new Error("a call reached its handler without passing the guard");
          const form = formFor(request);
          const message = form.readRequest(method.desc.input, request.body ?? new Uint8Array());
          const answer = form.writeResponse(method.desc.output, await method.invoke(message, call));
          request.log.debug({ rpc: name, ms: Math.round(reply.elapsedTime) }, "rpc answered");
          return reply.header("content-type", form.contentType).send(answer);
        },
      });
    }

    const unknown = `${prefix}/*`;
    if (!scope.hasRoute({ method: "POST", url: unknown })) {
      scope.all(unknown, { onRequest: (request) => Promise.reject(unknownMethod(request)) }, () => {});
    }
  });
}

function unknownMethod(request: FastifyRequest): RpcError {
  const path = request.url.split("?", 1)[0] ?? "";
  return new RpcError("not_found", `unknown method ${path.slice(path.lastIndexOf("/") + 1)}`);
}
