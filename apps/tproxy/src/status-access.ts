import { BlockList, isIP } from "node:net";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance } from "fastify";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Who may see what runs behind this tproxy: ids, addresses, traffic. */
export type StatusAccess = "loopback" | "anywhere";

/** Whether an IP address is this machine's alone. */
export function isLoopback(address: string): boolean {
  return isIP(address) !== 0 && loopback.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/**
 * Refuses callers from elsewhere. An id names an app in the proxy, and the proxy tells nobody which ids exist.
 * @throws {RpcError} `permission_denied`
 */
export function requireStatusAccess(access: StatusAccess, remoteAddress: string): void {
  if (access === "anywhere" || isLoopback(remoteAddress)) return;
  throw new RpcError(
    "permission_denied",
    'this is for callers on the same machine only; set status_from = "anywhere" to change that',
  );
}

/** Puts the same condition before the routes that are not RPC, `/healthz` excepted. */
export function guardStatusRoutes(app: FastifyInstance, access: StatusAccess): void {
  app.addHook("onRequest", async (request) => {
    const route = request.routeOptions.url;
    if (route === "/" || route === "/metrics") requireStatusAccess(access, request.ip);
  });
}
