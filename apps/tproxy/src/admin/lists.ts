import type { OpenConnection } from "@dstack/tls-proxy";
import type { AdminContext, AdminHandler } from "./admin-context.js";

/** `TproxyAdmin.ListInstances`: every registered instance, and those that are only drained, by id. */
export const listInstances =
  ({ registry, tunnel, plane }: AdminContext): AdminHandler<"listInstances"> =>
  async () => {
    const { openByInstance } = plane.stats();
    const registered = registry.list().map(({ instanceId, appId, ip, draining, publicKey }) => ({
      id: instanceId,
      appId,
      ip,
      draining,
      latestHandshake: BigInt(tunnel.handshakes.get(publicKey) ?? 0),
      numConnections: openByInstance.get(instanceId) ?? 0,
    }));
    const gone = registry.listDrainedAndGone().map(({ instanceId, appId }) => ({
      id: instanceId,
      appId,
      draining: true,
      numConnections: openByInstance.get(instanceId) ?? 0,
    }));
    return { instances: [...registered, ...gone].toSorted((a, b) => (a.id < b.id ? -1 : 1)) };
  };

/** `TproxyAdmin.ListNodes` */
export const listNodes =
  ({ nodes }: AdminContext): AdminHandler<"listNodes"> =>
  async () => {
    const self = nodes.self().name;
    return { nodes: nodes.list().map((node) => ({ ...node, self: node.name === self })) };
  };

const USUAL_CONNECTIONS = 1_000;
/** An answer of a few MB. */
const MOST_CONNECTIONS = 10_000;

/** `TproxyAdmin.ListConnections` */
export const listConnections =
  ({ plane }: AdminContext): AdminHandler<"listConnections"> =>
  async ({ most, search }) => {
    const limit = Math.min(most === 0 ? USUAL_CONNECTIONS : most, MOST_CONNECTIONS);
    const wanted = search.toLowerCase();
    const open = await plane.connections(wanted === "" ? limit : MOST_CONNECTIONS);
    const found =
      wanted === "" ? open : open.filter((one) => textsOf(one).some((text) => text.includes(wanted)));
    return {
      open: plane.stats().open,
      connections: found.slice(0, limit).map((connection) => ({
        id: BigInt(connection.id),
        source: connection.source,
        serverName: connection.serverName ?? "",
        appId: connection.appId ?? "",
        instanceId: connection.instanceId ?? "",
        state: connection.state,
        since: BigInt(connection.since),
        bytesToApp: BigInt(connection.bytesToApp),
        bytesToClient: BigInt(connection.bytesToClient),
      })),
    };
  };

/** What a connection is found by; all of it is lower-case. */
function textsOf({ source, serverName, appId, instanceId, state }: OpenConnection): string[] {
  return [source, serverName ?? "", appId ?? "", instanceId ?? "", state];
}
