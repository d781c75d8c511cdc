import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InputError, errorMessage } from "@dstack/core";
import { ResourceStack, bearerToken, createApp, findToken, listenHttp, tokenDigest } from "@dstack/daemon";
import type { Listener } from "@dstack/daemon";
import { RpcError, implement, mountPrpc } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import { tproxyAdmin } from "@dstack/proto";
import type { ServerIdentity } from "@dstack/ra-rpc";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { TproxyConfig } from "../config.js";
import type { TproxyContext } from "../context.js";
import { isLoopback } from "../status-access.js";
import type { AdminContext, Operator } from "./admin-context.js";
import { openAuditLog } from "./audit-log.js";
import { audited } from "./audited.js";
import { nodeNamed, removeNode, setNodeDraining } from "./change-node.js";
import { removeInstance, setInstanceDraining } from "./change-instance.js";
import { listConnections, listInstances, listNodes } from "./lists.js";
import { reloadCertificate } from "./reload-certificate.js";

/** The largest request is the name of a node. */
const BODY_BYTES = 4096;
/** Who may use a socket. */
const SOCKET_MODE = 0o600;

interface Token extends Operator {
  readonly digest: Uint8Array;
}

/** A running admin listener. */
export type AdminListener = AsyncDisposable & { readonly port: number };

/**
 * Serves `TproxyAdmin` on a listener of its own (P7): pRPC, every call with a token, every change in
 * `state_dir/audit.log`.
 * @throws {InputError} a token that cannot be read, or that is too short
 * @throws {ChainedLogError} an audit log that somebody changed
 */
export async function listenAdmin(
  { admin, state_dir: stateDir }: TproxyConfig,
  context: TproxyContext,
  identity: ServerIdentity,
): Promise<AdminListener> {
  if (admin === undefined) throw new TypeError("admin is not configured");
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
  const operatorOf = requireToken(app, tokens);
  mountPrpc(app, [adminService({ ...context, audit })], {
    peer: (request) => ({ peer: operatorOf(request) }),
  });
  const address =
    admin.socket === undefined
      ? { host: admin.host, port: admin.port ?? 0 }
      : { path: admin.socket, mode: SOCKET_MODE };
  const listener: Listener = stack.use(await listenHttp({ app, address }));
  context.log.info({ address: listener.address, port: listener.port }, "operators are served");
  const resources = stack.move();
  return { port: listener.port, [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose]() };
}

async function readToken({ name, token_file: file }: { name: string; token_file: string }): Promise<Token> {
  let text: string;
  try {
    text = (await readFile(file, "utf8")).trim();
  } catch (err) {
    throw new InputError(`[admin] token_file: ${errorMessage(err)}`, { cause: err });
  }
  return { name, digest: tokenDigest(text, file) };
}

/** Lets nobody through without a known token, whatever they ask for. */
function requireToken(app: FastifyInstance, tokens: readonly Token[]): (request: FastifyRequest) => Operator {
  const operators = new WeakMap<FastifyRequest, Operator>();
  app.addHook("onRequest", async (request, reply) => {
    const token = findToken(tokens, bearerToken(request.headers.authorization) ?? "");
    if (token === undefined) {
      reply.header("www-authenticate", 'Bearer realm="tproxy"');
      throw new RpcError("unauthenticated", "a bearer token of [admin] is needed");
    }
    operators.set(request, { name: token.name });
  });
  return (request) => {
    const operator = operators.get(request);
    if (operator === undefined) throw new RpcError("unauthenticated", "a bearer token of [admin] is needed");
    return operator;
  };
}

function adminService(context: AdminContext): ServiceImpl<Operator> {
  const instance = ({ id }: { id: string }): string => id;
  const node = ({ name }: { name: string }): string => nodeNamed(context, name);
  return implement<typeof tproxyAdmin.TproxyAdmin, Operator>(tproxyAdmin.TproxyAdmin, {
    listInstances: listInstances(context),
    drainInstance: audited(context, "DrainInstance", instance, setInstanceDraining(context, true)),
    resumeInstance: audited(context, "ResumeInstance", instance, setInstanceDraining(context, false)),
    removeInstance: audited(context, "RemoveInstance", instance, removeInstance(context)),
    listNodes: listNodes(context),
    drainNode: audited(context, "DrainNode", node, setNodeDraining(context, true)),
    resumeNode: audited(context, "ResumeNode", node, setNodeDraining(context, false)),
    removeNode: audited(context, "RemoveNode", node, removeNode(context)),
    listConnections: listConnections(context),
    reloadCertificate: audited(context, "ReloadCertificate", () => "", reloadCertificate(context)),
  });
}
