import { InputError } from "@dstack/core";
import { findToken } from "@dstack/daemon";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { requireSameOrigin } from "./access.js";
import { halvesOf } from "./cookie.js";
import type { SessionCookie } from "./cookie.js";
import type { Sessions } from "./sessions.js";
import type { KnownToken } from "./tokens.js";

const Login = z.object({ token: z.string().max(4096) });

export interface LoginParts<T extends KnownToken> {
  readonly sessions: Sessions<T>;
  readonly cookie: SessionCookie;
  /** Writes it down, before the session begins: what cannot be logged is not done. */
  readonly onLogin: (token: T, request: FastifyRequest) => Promise<void>;
}

/**
 * `POST /login` with `{"token"}` begins a session: half of its id is the cookie, the other half, `page`, is in the answer
 * and goes into the page's header. `POST /logout` ends it.
 */
export function addLogin<T extends KnownToken>(
  app: FastifyInstance,
  { sessions, cookie, onLogin }: LoginParts<T>,
): void {
  /** Only the dashboard logs in: a page elsewhere must not log a browser in as somebody else either. */
  const requireOwnPage = (request: FastifyRequest): void => {
    requireSameOrigin(request);
    if (request.headers[cookie.pageHeader] !== undefined) return;
    const reason = `only ${cookie.program}'s own page logs in; other clients send their token`;
    throw new RpcError("permission_denied", reason);
  };
  app.post("/login", async (request, reply) => {
    requireOwnPage(request);
    const body = Login.safeParse(request.body);
    if (!body.success) throw new InputError('the body must be {"token": "…"}');
    const token = findToken(sessions.tokens, body.data.token.trim());
    if (token === undefined) throw new RpcError("unauthenticated", "this token is not known here");
    await onLogin(token, request);
    const halves = halvesOf(await sessions.begin(token));
    reply.header("set-cookie", cookie.write(request, halves.cookie));
    const { digest: _digest, ...known } = token;
    return { ...known, page: halves.page };
  });
  app.post("/logout", async (request, reply) => {
    const session = cookie.read(request);
    if (session !== undefined) await sessions.end(session);
    reply.header("set-cookie", cookie.write(request, undefined));
    return {};
  });
}
