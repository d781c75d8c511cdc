import type { Logger } from "@dstack/daemon";
import { WireGuard } from "@dstack/wireguard-tools-wrapper";
import { tunnelAddress } from "../config.js";
import type { TproxyConfig } from "../config.js";
import type { TproxyMetrics } from "../metrics.js";
import type { NodeRegistry } from "../registry/nodes.js";
import type { Tunnel } from "./tunnel.js";

/** Makes the interface, or takes over what a predecessor left. @throws {WireGuardError} */
export async function openWireGuard(
  config: TproxyConfig,
  metrics: TproxyMetrics,
  log: Logger,
): Promise<WireGuard> {
  const wireguard = await WireGuard.open({
    interfaceName: config.wg.interface,
    backend: config.wg.backend,
    mtu: config.wg.mtu,
    onRestart: (err) => {
      metrics.tunnelRestarts.inc();
      if (err === undefined) log.warn("wireguard-go had ended and was started again");
      else log.error({ err }, "wireguard-go has ended and cannot be started");
    },
  });
  const { backend, takenOver } = wireguard;
  log.info({ interface: config.wg.interface, backend, takenOver }, "WireGuard interface is up");
  await wireguard.refuseForwarding().catch((err: unknown) => {
    // Guests still hear nobody but us, by their own AllowedIPs and firewall; this was the second fence.
    log.warn(
      { err },
      "cannot switch off forwarding: where this machine forwards, guests may send to each other",
    );
  });
  return wireguard;
}

/** Gives the interface its address, its peers and its routes, and hears what it knows of them. */
export async function bringUp(config: TproxyConfig, tunnel: Tunnel, nodes: NodeRegistry): Promise<void> {
  await tunnel.device.setAddress(tunnelAddress(config));
  await tunnel.sync();
  await tunnel.addRoutes(nodes.list().map(({ clientRange }) => clientRange));
  await tunnel.poll();
}
