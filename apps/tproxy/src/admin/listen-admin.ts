import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InputError, errorMessage, sleep } from "@dstack/core";
import { ResourceStack, createApp, listenHttp, tokenDigest } from "@dstack/daemon";
import type { Listener } from "@dstack/daemon";
import { Watch, addDashboard, addEvents } from "@dstack/dashboard";
import type { KnownToken, PageFiles } from "@dstack/dashboard";
import { mountPrpc } from "@dstack/prpc";
import type { ServerIdentity } from "@dstack/ra-rpc";
import type { PeerVerifier } from "@dstack/ra-tls";
import { addAcmeInfo } from "../acme-info-page.js";
import type { TproxyConfig } from "../config.js";
import type { TproxyContext } from "../context.js";
import { dashboardItems } from "../dashboard/take-items.js";
import { isLoopback } from "../status-access.js";
import { adminService } from "./admin-service.js";
import { openAuditLog } from "./audit-log.js";

/** The largest request is a token. */
const BODY_BYTES = 8192;
/** Who may use a socket. */
const SOCKET_MODE = 0o600;
/** How often what the dashboard shows is looked at. */
const LOOK_EVERY_MS = 2_000;

/** A running admin listener. */
export type AdminListener = AsyncDisposable & { readonly port: number };

export interface AdminParts {
  readonly identity: ServerIdentity;
  readonly verifier: PeerVerifier;
  /** The dashboard's files. */
  readonly page: PageFiles;
  /** What the dashboard says on every page. */
  readonly warnings: readonly string[];
}

/**
 * Serves operators on a listener of their own (P7): the dashboard and `TproxyAdmin`, every call with a token or a
 * session begun with one, every change in `state_dir/audit.log`.
 * @throws {InputError} a token that cannot be read, or that is too short
 * @throws {ChainedLogError} an audit log that somebody changed
 */
export async function listenAdmin(
  config: TproxyConfig,
  context: TproxyContext,
  parts: AdminParts,
): Promise<AdminListener> {
  const { admin, state_dir: stateDir, proxy } = config;
  if (admin === undefined) throw new TypeError("admin is not configured");
  const { identity, verifier } = parts;
  await using stack = new ResourceStack();
  const tokens = await Promise.all(admin.tokens.map(readToken));
  const audit = stack.use(await openAuditLog(join(stateDir, "audit.log"), context.log));
  const isLocal = admin.socket !== undefined || isLoopback(admin.host);
  const app = createApp({
    log: context.log,
    bodyLimit: BODY_BYTES,
    // A token does not travel in clear.
    ...(isLocal ? {} : { tls: { key: identity.key, cert: identity.certChain, minVersion: "TLSv1.3" } }),
  });
  const access = await addDashboard(app, {
    program: "tproxy",
    files: parts.page,
    tokens,
    sessionsFile: join(stateDir, "sessions.json"),
    onLogin: async ({ name }, request) => {
      const call = { from: request.ip ?? "unix", request: request.id, method: "Login" };
      await audit.append({ who: name, ...call, about: "", outcome: "done" });
    },
    // They tell no more than the listener for guests tells everybody.
    publicRoutes: ["/.dstack/acme-info", "/.dstack/acme-info/:digest"],
    clock: { now: () => new Date() },
    log: context.log,
  });
  addAcmeInfo(app, context);
  const baseDomains = [proxy.base_domain, ...proxy.more_base_domains];
  const watch = new Watch(
    async () => dashboardItems(context, { baseDomains, store: config.store }),
    { sleep },
    LOOK_EVERY_MS,
    (err) => context.log.error({ err }, "cannot look at what the dashboard shows"),
  );
  const closing = new AbortController();
  addEvents(app, {
    hello: (request) => ({
      you: access.callerOf(request).name,
      node: context.store.node,
      time: Date.now(),
      warnings: parts.warnings,
    }),
    watch,
    access,
    closing: closing.signal,
  });
  mountPrpc(app, [adminService({ ...context, audit, verifier, baseDomains })], {
    peer: (request) => ({ peer: { name: access.callerOf(request).name } }),
  });
  const address =
    admin.socket === undefined
      ? { host: admin.host, port: admin.port ?? 0 }
      : { path: admin.socket, mode: SOCKET_MODE };
  const listener: Listener = stack.use(await listenHttp({ app, address }));
  stack.defer(() => closing.abort());
  context.log.info({ address: listener.address, port: listener.port }, "operators are served");
  const resources = stack.move();
  return { port: listener.port, [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose]() };
}

async function readToken({
  name,
  token_file: file,
}: {
  name: string;
  token_file: string;
}): Promise<KnownToken> {
  let text: string;
  try {
    text = (await readFile(file, "utf8")).trim();
  } catch (err) {
    throw new InputError(`[admin] token_file: ${errorMessage(err)}`, { cause: err });
  }
  return { name, digest: tokenDigest(text, file) };
}
