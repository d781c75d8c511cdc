import { bearerToken, findToken } from "@dstack/daemon";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { pageSession } from "../dashboard/cookie.js";
import type { Sessions } from "../dashboard/sessions.js";
import type { KnownToken, Role } from "./tokens.js";

/** Who is calling, and how. */
export interface Caller {
  /** For the audit log. */
  readonly name: string;
  readonly role: Role;
}

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
export interface Access {
  /** The caller of an authenticated request. */
  callerOf(request: FastifyRequest): Caller;
  /** Whether what let the request in still would: an answer that goes on for hours ends with its session. */
  holds(request: FastifyRequest): boolean;
}

/** What a stranger may have: health, and the dashboard's files, which say nothing about this host. */
const PUBLIC_ROUTES: ReadonlySet<string> = new Set(["/healthz", "/", "/assets/:file", "/login"]);

/** Lets only known callers through to anything but {@link PUBLIC_ROUTES}: by bearer token, or by the page's session. */
export function addAuthentication(
  app: FastifyInstance,
  tokens: readonly KnownToken[],
  sessions: Sessions,
): Access {
  const callers = new WeakMap<FastifyRequest, Caller>();
  app.addHook("onRequest", async (request, reply) => {
    if (PUBLIC_ROUTES.has(request.routeOptions.url ?? "")) return;
    const token = authenticate(request, tokens, sessions);
    if (token instanceof RpcError) {
      reply.header("www-authenticate", 'Bearer realm="teepod"');
      throw token;
    }
    callers.set(request, { name: token.name, role: token.role });
    if (request.method !== "GET" && request.method !== "HEAD") requireSameOrigin(request);
  });
  return {
    callerOf: (request) => {
      const caller = callers.get(request);
      if (caller === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
      return caller;
    },
    holds: (request) => !(authenticate(request, tokens, sessions) instanceof RpcError),
  };
}

function authenticate(
  request: FastifyRequest,
  tokens: readonly KnownToken[],
  sessions: Sessions,
): KnownToken | RpcError {
  const presented = bearerToken(request.headers.authorization);
  if (presented !== undefined) {
    const token = findToken(tokens, presented);
    return token ?? new RpcError("unauthenticated", "the bearer token is not known here");
  }
  const session = pageSession(request);
  if (session === undefined) return new RpcError("unauthenticated", "a bearer token is needed");
  return sessions.find(session) ?? new RpcError("unauthenticated", "the session is over; log in again");
}

/** @throws {RpcError} the caller may only look */
export function requireOperator(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
  if (caller.role !== "operator") {
    throw new RpcError("permission_denied", "this token may look at VMs but not change them");
  }
  return caller;
}
