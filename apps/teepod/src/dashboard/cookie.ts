import type { FastifyRequest } from "fastify";
import { SESSION_SECONDS } from "./sessions.js";

const NAME = "teepod-session";

/**
 * Cookies know no ports: a browser sends the cookie also with what pages of other ports of this machine make it ask
 * teepod, and, worse, to the *servers* at those ports, which may be apps of guests at forwarded ones. So the cookie is
 * half of a session's id only. The other half comes in this header: the page keeps it where nothing but pages of its
 * own origin, port included, can read it (T3).
 */
export const PAGE_HEADER = "x-teepod-page";

/** The session id of a request made by the dashboard: the cookie's half, then the page's. */
export function pageSession(request: FastifyRequest): string | undefined {
  const page = /^[0-9a-f]{64}$/.exec(String(request.headers[PAGE_HEADER]))?.[0];
  const cookies = (request.headers.cookie ?? "").split(/; */);
  const cookie = cookies.flatMap((one) => /^teepod-session=([0-9a-f]{64})$/.exec(one)?.[1] ?? [])[0];
  return page === undefined || cookie === undefined ? undefined : `${cookie}${page}`;
}

/** The halves of a session id. */
export function halvesOf(id: string): { readonly cookie: string; readonly page: string } {
  return { cookie: id.slice(0, id.length / 2), page: id.slice(id.length / 2) };
}

/** `Set-Cookie` that keeps a session's half, or without one ends it. No `Secure`: teepod itself speaks plain HTTP. */
export function sessionCookie(half: string | undefined): string {
  const value = `${NAME}=${half ?? ""}; Path=/; HttpOnly; SameSite=Strict`;
  return `${value}; Max-Age=${half === undefined ? 0 : SESSION_SECONDS}`;
}
