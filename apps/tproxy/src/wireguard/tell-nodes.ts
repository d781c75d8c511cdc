import { createServer } from "node:net";
import { CountLimit, hex, sha256 } from "@dstack/core";
import type { NodeRegistry } from "../registry/nodes.js";

/** Everybody in the tunnel may ask; each answer is one packet. */
const MAX_ASKING = 256;
/** Of one guest, which holds its address alone: it asks one question at a time. */
const MAX_OF_GUEST = 2;
const ASKING_MS = 2_000;

/** Changes with what a registration tells of all nodes: SHA-256, hex. */
export function digestOfNodes(nodes: Pick<NodeRegistry, "list">): string {
  const told = nodes
    .list()
    .filter(({ removed }) => !removed)
    .map(({ publicKey, ip, endpoint, rpcUrl = "" }) => [publicKey, ip, endpoint, rpcUrl]);
  return hex(sha256(JSON.stringify(told)));
}

/**
 * Tells whoever connects the digest of all nodes, without a question: a guest that looks once in a while knows when to
 * register again. It says nothing of who they are, and a guest does nothing with it but register, with fresh evidence.
 * @param host our address in the tunnel
 * @param port of TCP: the one that WireGuard has of UDP, which guests know
 * @throws a system error when it cannot be bound
 */
export async function tellNodes(
  { host, port }: { readonly host: string; readonly port: number },
  nodes: Pick<NodeRegistry, "list">,
): Promise<AsyncDisposable & { readonly port: number }> {
  const guests = new CountLimit(MAX_OF_GUEST);
  const server = createServer((socket) => {
    const leave = guests.enter(socket.remoteAddress ?? "");
    if (leave === undefined) {
      socket.destroy();
      return;
    }
    socket.once("close", leave).on("error", () => {});
    socket.resume().end(`${digestOfNodes(nodes)}\n`);
    setTimeout(() => socket.destroy(), ASKING_MS).unref();
  });
  server.maxConnections = MAX_ASKING;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, resolve);
  });
  const bound = server.address();
  return {
    port: bound !== null && typeof bound === "object" ? bound.port : port,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
