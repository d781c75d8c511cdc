import { Paced } from "@dstack/core";
import type { TproxyContext } from "./context.js";

/** Of the time: changes that come while one is followed, or in as long after that, are followed together. */
const FOLLOWING_SHARE = 0.5;
/** What failed of following the nodes is tried again after so long: a port may have been taken for a moment. */
const RETRY_MS = 2_000;

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
    const drain = () => Promise.all(departed.map(([instanceId]) => plane.drain({ instanceId }, 0)));
    await drain();
    await tunnel.sync();
    // Those that were just being connected then are its connections now; no others can come any more.
    await drain();
    await context.publishRoutes();
  };
  const following = new Paced(follow, FOLLOWING_SHARE);
  /** Undefined after an attempt that failed half way. */
  let accepting: boolean | undefined = true;
  const followNodes = async (): Promise<void> => {
    await tunnel.addRoutes(nodes.list().map(({ clientRange }) => clientRange));
    const wanted = !nodes.self().draining;
    if (wanted === accepting) return;
    accepting = undefined;
    await Promise.all([plane.setAccepting(wanted), redirect?.setAccepting(wanted)]);
    accepting = wanted;
    log.info(wanted ? "this node takes new connections again" : "this node is drained: no new connections");
  };
  const followingNodes = new Paced(followNodes, FOLLOWING_SHARE);
  let retry: NodeJS.Timeout | undefined;
  const followNodesNow = (): void => {
    if (signal.aborted) return;
    followingNodes.run().catch((err: unknown) => {
      onError(err);
      clearTimeout(retry);
      retry = setTimeout(followNodesNow, RETRY_MS).unref();
    });
  };
  registry.onChange(() => {
    if (!signal.aborted) following.run().catch(onError);
  });
  nodes.onChange(followNodesNow);
  followNodesNow();
}

function addressesOf({ registry }: TproxyContext): ReadonlyMap<string, string> {
  return new Map(registry.list().map(({ instanceId, ip }) => [instanceId, ip]));
}
