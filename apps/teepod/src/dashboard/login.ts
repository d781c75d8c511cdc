import { InputError } from "@dstack/core";
import { findToken } from "@dstack/daemon";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import type { AuditLog } from "../http/audit-log.js";
import { requireSameOrigin } from "../http/auth.js";
import type { KnownToken } from "../http/tokens.js";
import { PAGE_HEADER, halvesOf, pageSession, sessionCookie } from "./cookie.js";
import type { Sessions } from "./sessions.js";

const Login = z.object({ token: z.string().max(4096) });

export interface LoginParts {
  readonly tokens: readonly KnownToken[];
  readonly sessions: Sessions;
  readonly audit: AuditLog;
}

/** Only the dashboard logs in: a page elsewhere must not log a browser in as somebody else either. */
function requireOwnPage(request: FastifyRequest): void {
  requireSameOrigin(request);
  if (request.headers[PAGE_HEADER] === undefined)
    throw new RpcError("permission_denied", "only teepod's own page logs in; other clients send their token");
}

/**
 * `POST /login` with `{"token"}` begins a session: half of its id is the cookie, the other half, `page`, is in the answer
 * and goes into the page's header. `POST /logout` ends it.
 */
export function addLogin(app: FastifyInstance, { tokens, sessions, audit }: LoginParts): void {
  app.post("/login", async (request, reply) => {
    requireOwnPage(request);
    const body = Login.safeParse(request.body);
    if (!body.success) throw new InputError('the body must be {"token": "…"}');
    const token = findToken(tokens, body.data.token.trim());
    if (token === undefined) throw new RpcError("unauthenticated", "this token is not known here");
    await audit.append({
      who: token.name,
      role: token.role,
      from: request.ip,
      request: request.id,
      method: "Login",
      vm: "",
      outcome: "done",
    });
    const { cookie, page } = halvesOf(await sessions.begin(token));
    reply.header("set-cookie", sessionCookie(cookie));
    return { name: token.name, role: token.role, page };
  });
  app.post("/logout", async (request, reply) => {
    const session = pageSession(request);
    if (session !== undefined) await sessions.end(session);
    reply.header("set-cookie", sessionCookie(undefined));
    return {};
  });
}
