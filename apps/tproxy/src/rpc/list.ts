import type { Handler } from "@dstack/prpc";
import type { tproxy } from "@dstack/proto";
import type { TproxyContext } from "../context.js";

type List = (typeof tproxy.Tproxy)["method"]["list"];

/** `Tproxy.List`: every registered instance, apps together. */
export const list =
  (context: TproxyContext): Handler<List["input"], List["output"]> =>
  async () => {
    const { openByInstance } = context.plane.stats();
    const { handshakes } = context.tunnel;
    const instances = context.registry
      .list()
      .toSorted((a, b) => compare(a.appId, b.appId) || compare(a.instanceId, b.instanceId));
    return {
      hosts: instances.map((instance) => ({
        id: instance.instanceId,
        ip: instance.ip,
        appId: instance.appId,
        baseDomain: context.site.baseDomain,
        port: context.site.externalPort,
        latestHandshake: BigInt(handshakes.get(instance.publicKey) ?? 0),
        numConnections: openByInstance.get(instance.instanceId) ?? 0,
      })),
    };
  };

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
