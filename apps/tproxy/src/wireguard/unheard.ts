import type { InstanceRegistry } from "../registry/registry.js";
import type { Tunnel } from "./tunnel.js";

/** How many registered instances cannot be reached from here: guests call us, once they know of us. */
export function unheard(
  registry: Pick<InstanceRegistry, "list">,
  { handshakes }: Pick<Tunnel, "handshakes">,
): number {
  return registry.list().filter(({ publicKey }) => (handshakes.get(publicKey) ?? 0) === 0).length;
}
