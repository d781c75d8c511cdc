import { scriptPageHeaders } from "@dstack/daemon";
import type { Logger } from "@dstack/daemon";
import type { FastifyInstance } from "fastify";
import { addAuthentication } from "./access.js";
import type { Access } from "./access.js";
import { SessionCookie } from "./cookie.js";
import { addLogin } from "./login.js";
import type { LoginParts } from "./login.js";
import { addPage } from "./page.js";
import type { PageFiles } from "./page.js";
import { Sessions } from "./sessions.js";
import type { SessionClock } from "./sessions.js";
import type { KnownToken } from "./tokens.js";

export interface DashboardOptions<T extends KnownToken> {
  /** The program's name: in the cookie's, in the header's, and in what errors say. */
  readonly program: string;
  readonly files: PageFiles;
  readonly tokens: readonly T[];
  /** Where sessions are kept over restarts. */
  readonly sessionsFile: string;
  readonly onLogin: LoginParts<T>["onLogin"];
  /** Routes for strangers besides the dashboard's files. */
  readonly publicRoutes?: readonly string[];
  readonly clock: SessionClock;
  readonly log: Logger;
}

/**
 * Puts a dashboard, its login and the condition that callers are known in front of everything `app` serves: added
 * before any other route. Every answer has the headers of a page that runs nothing but its own files (T6).
 */
export async function addDashboard<T extends KnownToken>(
  app: FastifyInstance,
  options: DashboardOptions<T>,
): Promise<Access<T>> {
  const { program, tokens, clock, log } = options;
  const headers = scriptPageHeaders();
  app.addHook("onRequest", async (_request, reply) => void reply.headers(headers));
  const sessions = await Sessions.open(options.sessionsFile, tokens, clock, log);
  const cookie = new SessionCookie(program);
  const access = addAuthentication(app, sessions, cookie, options.publicRoutes ?? []);
  addPage(app, program, options.files);
  addLogin(app, { sessions, cookie, onLogin: options.onLogin });
  return access;
}
