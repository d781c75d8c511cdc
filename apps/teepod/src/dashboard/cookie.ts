import type { FastifyRequest } from "fastify";
import { SESSION_SECONDS } from "./sessions.js";

const NAME = "teepod-session";

/**
 * A browser sends the cookie also with requests of other pages of its *site*, and to browsers every port of a machine
 * is one site: an app on a forwarded port of this very host, say. So the cookie counts only beside this header, which
 * no page of another origin can add without asking, and teepod answers no such question (T3).
 */
export const PAGE_HEADER = "x-teepod-page";

/** The session id of a request made by the dashboard. */
export function pageSession(request: FastifyRequest): string | undefined {
  if (request.headers[PAGE_HEADER] !== "1") return undefined;
  const cookies = (request.headers.cookie ?? "").split(/; */);
  return cookies.flatMap((cookie) => /^teepod-session=([0-9a-f]{64})$/.exec(cookie)?.[1] ?? [])[0];
}

/** `Set-Cookie` that keeps a session, or without one ends it. No `Secure`: teepod itself speaks plain HTTP. */
export function sessionCookie(id: string | undefined): string {
  const value = `${NAME}=${id ?? ""}; Path=/; HttpOnly; SameSite=Strict`;
  return `${value}; Max-Age=${id === undefined ? 0 : SESSION_SECONDS}`;
}
