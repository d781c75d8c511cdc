import { BlockList, isIP } from "node:net";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance } from "fastify";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Who may see what runs behind this tproxy: ids, addresses, traffic. */
export type StatusAccess = "loopback" | "anywhere";

/**
 * Refuses callers from elsewhere. An id names an app in the proxy, and the proxy tells nobody which ids exist.
 * @throws {RpcError} `permission_denied`
 */
export function requireStatusAccess(access: StatusAccess, remoteAddress: string): void {
  const family = isIP(remoteAddress) === 6 ? "ipv6" : "ipv4";
  if (access === "anywhere" || (isIP(remoteAddress) !== 0 && loopback.check(remoteAddress, family))) return;
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
