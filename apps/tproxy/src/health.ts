import type { PeerVerifier } from "@dstack/ra-tls";
import type { TproxyContext } from "./context.js";
import { unheard } from "./wireguard/unheard.js";

/** A node that has lost its store still serves, and says so. @throws while it should get no connections */
export function health({
  tunnel,
  nodes,
  membership,
  registry,
  store,
}: Pick<TproxyContext, "tunnel" | "nodes" | "membership" | "registry" | "store">): string[] {
  tunnel.assertAlive();
  if (nodes.self().draining) throw new Error("this node is drained");
  const warnings: string[] = [];
  if (store.trouble !== undefined) {
    warnings.push(`what is known of other nodes may be old: ${store.trouble}`);
  }
  if (membership.trouble !== undefined) {
    warnings.push(`other nodes and their guests do not know this node as it is: ${membership.trouble}`);
  }
  const missing = unheard(registry, tunnel);
  if (missing > 0 && nodes.list().some(({ alive, name }) => alive && name !== nodes.self().name)) {
    warnings.push(`this node has not heard ${missing} of ${registry.list().length} instances yet`);
  }
  return warnings;
}

/** What every surface says of a policy that lets in more than it should (E9, E10). */
export function policyWarnings({ simulatedRoots, policy }: PeerVerifier): string[] {
  const warnings: string[] = [];
  if (simulatedRoots.length > 0) {
    warnings.push(
      "INSECURE: simulated platforms are trusted; whoever has their seed can register as any app",
    );
  }
  if (policy.images.allow_all) warnings.push("INSECURE: allow_all = true, any image may register");
  return warnings;
}
