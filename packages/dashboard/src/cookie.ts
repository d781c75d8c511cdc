import type { FastifyRequest } from "fastify";
import { SESSION_SECONDS } from "./sessions.js";

/**
 * Where a browser keeps a session. Cookies know no ports: a browser sends the cookie also with what pages of other
 * ports of this machine make it ask us, and, worse, to the *servers* at those ports, which may be apps of guests at
 * forwarded ones. So the cookie is half of a session's id only. The other half comes in a header: the page keeps it
 * where nothing but pages of its own origin, port included, can read it (T3).
 *
 * The cookie's name has the port that the browser sees, so that daemons behind several ports of one host, as through
 * `ssh -L`, do not log each other's users out.
 */
export class SessionCookie {
  /** The header with the page's half. */
  readonly pageHeader: string;

  /** @param program its name, in lower-case letters */
  constructor(readonly program: string) {
    this.pageHeader = `x-${program}-page`;
  }

  /** The session id of a request made by the dashboard: the cookie's half, then the page's. */
  read(request: FastifyRequest): string | undefined {
    const page = /^[0-9a-f]{64}$/.exec(String(request.headers[this.pageHeader]))?.[0];
    const prefix = `${this.#name(request)}=`;
    const cookies = (request.headers.cookie ?? "").split(/; */);
    const cookie = cookies.find((one) => one.startsWith(prefix))?.slice(prefix.length) ?? "";
    return page === undefined || !/^[0-9a-f]{64}$/.test(cookie) ? undefined : `${cookie}${page}`;
  }

  /**
   * `Set-Cookie` that keeps a session's half, or without one ends it. `Secure` where we speak HTTPS ourselves; plain
   * HTTP is for loopback and for a proxy in front.
   */
  write(request: FastifyRequest, half: string | undefined): string {
    const age = half === undefined ? 0 : SESSION_SECONDS;
    const value = `${this.#name(request)}=${half ?? ""}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${age}`;
    return request.protocol === "https" ? `${value}; Secure` : value;
  }

  #name(request: FastifyRequest): string {
    const port = /:(\d{1,5})$/.exec(request.headers.host ?? "")?.[1];
    return `${this.program}-session${port === undefined ? "" : `-${port}`}`;
  }
}

/** The halves of a session id. */
export function halvesOf(id: string): { readonly cookie: string; readonly page: string } {
  return { cookie: id.slice(0, id.length / 2), page: id.slice(id.length / 2) };
}
