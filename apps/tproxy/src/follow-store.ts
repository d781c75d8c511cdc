import { Paced } from "@dstack/core";
import type { TproxyContext } from "./context.js";

/** Of the time: changes that come while one is followed, or in as long after that, are followed together. */
const FOLLOWING_SHARE = 0.5;

/** What other nodes and operators change comes to the tunnel and to the data plane. */
export function followStore(context: TproxyContext, signal: AbortSignal): void {
  const { nodes, registry, tunnel, plane, redirect, log } = context;
  const onError = (err: unknown): void => log.error({ err }, "following the store failed");
  let addresses = addressesOf(context);
  const follow = async (): Promise<void> => {
    const before = addresses;
    addresses = addressesOf(context);
    const departed = [...before].filter(([id, ip]) => addresses.get(id) !== ip);
    // An instance that is gone loses its routes and its connections before its address can lead to another one (P5).
    await context.publishRoutes();
    await Promise.all(departed.map(([instanceId]) => plane.drain({ instanceId }, 0)));
    await tunnel.sync();
    await context.publishRoutes();
  };
  const following = new Paced(follow, FOLLOWING_SHARE);
  let accepting = true;
  const followNodes = async (): Promise<void> => {
    await tunnel.addRoutes(nodes.list().map(({ clientRange }) => clientRange));
    const wanted = !nodes.self().draining;
    if (wanted === accepting) return;
    accepting = wanted;
    await Promise.all([plane.setAccepting(wanted), redirect?.setAccepting(wanted)]);
    log.info(wanted ? "this node takes new connections again" : "this node is drained: no new connections");
  };
  registry.onChange(() => {
    if (!signal.aborted) following.run().catch(onError);
  });
  nodes.onChange(() => {
    if (!signal.aborted) followNodes().catch(onError);
  });
  followNodes().catch(onError);
}

function addressesOf({ registry }: TproxyContext): ReadonlyMap<string, string> {
  return new Map(registry.list().map(({ instanceId, ip }) => [instanceId, ip]));
}
