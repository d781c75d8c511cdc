import type { PortMapping } from "./wire.js";

/** Forwarded ports, in words. */
export function portsText(ports: readonly PortMapping[]): string {
  return ports.map((p) => `${p.protocol} ${p.host_port} of the host to ${p.vm_port}`).join(", ");
}
