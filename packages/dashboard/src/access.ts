import { bearerToken, findToken } from "@dstack/daemon";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { SessionCookie } from "./cookie.js";
import type { Sessions } from "./sessions.js";
import type { KnownToken } from "./tokens.js";

/**
 * Refuses requests a web page elsewhere made a browser send. The token already does, and so does the mark a session
 * needs (`cookie.ts`): no browser sends either by itself.
 * Browsers name the page's origin on every request that may change something; other clients name none.
 */
export function requireSameOrigin(request: FastifyRequest): void {
  const site = request.headers["sec-fetch-site"];
  const { origin, host } = request.headers;
  const foreignSite = site !== undefined && site !== "same-origin" && site !== "none";
  const foreignOrigin = origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
  if (foreignSite || foreignOrigin) {
    throw new RpcError("permission_denied", "requests made by pages of another origin are refused");
  }
}

/** Who may do what. */
export interface Access<T extends KnownToken> {
  /** The token of an authenticated request. */
  callerOf(request: FastifyRequest): T;
  /** Whether what let the request in still would: an answer that goes on for hours ends with its session. */
  holds(request: FastifyRequest): boolean;
}

/** What a stranger may have: the dashboard's files, which say nothing about this host, and trying to log in. */
const PUBLIC_ROUTES = ["/", "/assets/:file", "/login"];

/**
 * Lets only known callers through: by bearer token, or by the page's session.
 * @param publicRoutes routes for strangers besides the dashboard's files
 */
export function addAuthentication<T extends KnownToken>(
  app: FastifyInstance,
  sessions: Sessions<T>,
  cookie: SessionCookie,
  publicRoutes: readonly string[],
): Access<T> {
  const open: ReadonlySet<string> = new Set([...PUBLIC_ROUTES, ...publicRoutes]);
  const callers = new WeakMap<FastifyRequest, T>();
  const authenticate = (request: FastifyRequest): T | RpcError => {
    const presented = bearerToken(request.headers.authorization);
    if (presented !== undefined) {
      const token = findToken(sessions.tokens, presented);
      return token ?? new RpcError("unauthenticated", "the bearer token is not known here");
    }
    const session = cookie.read(request);
    if (session === undefined) return new RpcError("unauthenticated", "a bearer token is needed");
    return sessions.find(session) ?? new RpcError("unauthenticated", "the session is over; log in again");
  };
  app.addHook("onRequest", async (request, reply) => {
    if (open.has(request.routeOptions.url ?? "")) return;
    const token = authenticate(request);
    if (token instanceof RpcError) {
      reply.header("www-authenticate", `Bearer realm="${cookie.program}"`);
      throw token;
    }
    callers.set(request, token);
    if (request.method !== "GET" && request.method !== "HEAD") requireSameOrigin(request);
  });
  return {
    callerOf: (request) => {
      const caller = callers.get(request);
      if (caller === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
      return caller;
    },
    holds: (request) => !(authenticate(request) instanceof RpcError),
  };
}
