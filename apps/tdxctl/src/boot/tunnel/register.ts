import { tproxy } from "@dstack/proto";
import { createClient } from "@dstack/prpc";
import type { RaTlsTransport } from "@dstack/ra-rpc";
import type { RuntimeEventLog } from "@dstack/tdx-attest";
import { publicKeyOf } from "@dstack/wireguard-tools-wrapper";
import { withFreshEvidence } from "../fresh-evidence.js";
import type { GuestSystem } from "../guest-system.js";
import type { SavedTunnel } from "./saved-tunnel.js";
import { firewallRules, hostCidr, openPorts, parseTunnel, tunnelConfig } from "./tunnel.js";
import type { Tunnel } from "./tunnel.js";

/** The version from which tproxy answers with every node of its cluster. */
const CLIENT_VERSION = 2;

/**
 * Registers with a node of tproxy.
 * @throws {RpcError} tproxy refused
 * @throws {InputError} its answer is no tunnel
 */
export async function register(
  transport: RaTlsTransport,
  events: RuntimeEventLog,
  own: Pick<SavedTunnel, "wireguardKey" | "proxyProtocolPorts" | "publicPorts">,
  signal: AbortSignal,
): Promise<Tunnel> {
  const answer = await transport.withSession((session) => {
    const client = createClient(tproxy.Tproxy, session);
    const request = {
      clientPublicKey: publicKeyOf(own.wireguardKey),
      clientVersion: CLIENT_VERSION,
      proxyProtocolPorts: [...own.proxyProtocolPorts],
      // So that tproxy refuses at once what our firewall would drop.
      publicPorts: openPorts(own.publicPorts) ?? [],
    };
    return withFreshEvidence(
      session,
      events,
      "tproxy-register",
      () => client.getChallenge({}, { signal }),
      (freshEvidence) =>
        client.registerCvm(
          { ...request, ...(freshEvidence === undefined ? {} : { freshEvidence }) },
          { signal },
        ),
      signal,
    );
  });
  return parseTunnel(answer);
}

/** Brings the tunnel up, or makes the one that is up another one; firewall first (G5). */
export async function bringUpTunnel(
  system: Pick<GuestSystem, "isDevelopmentImage" | "applyFirewall" | "openWireGuard">,
  { wireguardKey, publicPorts }: Pick<SavedTunnel, "wireguardKey" | "publicPorts">,
  tunnel: Tunnel,
  signal: AbortSignal,
): Promise<void> {
  const ssh = await system.isDevelopmentImage();
  await system.applyFirewall(firewallRules(tunnel, { publicPorts, ssh }), signal);
  const wireguard = await system.openWireGuard();
  await wireguard.setAddress(hostCidr(tunnel.ip));
  const { listenPort } = await wireguard.dump();
  await wireguard.syncconf(tunnelConfig(wireguardKey, tunnel, listenPort));
  for (const server of tunnel.servers) await wireguard.addRoute(hostCidr(server.ip));
}
