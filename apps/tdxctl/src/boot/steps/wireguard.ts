import { tproxy } from "@dstack/proto";
import { createClient } from "@dstack/prpc";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { attestedCall } from "../attested-call.js";
import type { AttestedPeer } from "../attested-call.js";
import { firewallRules, parseTunnel, tunnelConfig } from "../wireguard.js";

/** The version from which tproxy answers with every node of its cluster. */
const CLIENT_VERSION = 2;

/**
 * Registers with tproxy and brings the tunnel up, firewall first (G5).
 * @throws {RpcError} tproxy refused
 * @throws {InputError} its answer is no tunnel
 */
export async function joinTunnel(peer: AttestedPeer, signal: AbortSignal): Promise<void> {
  const { privateKey, publicKey } = generateKeyPair();
  const answer = await attestedCall(
    peer,
    { step: "wireguard", service: "tproxy", urlKey: "tproxy_url" },
    (transport) =>
      createClient(tproxy.Tproxy, transport).registerCvm(
        { clientPublicKey: publicKey, clientVersion: CLIENT_VERSION },
        { signal },
      ),
    signal,
  );
  const tunnel = parseTunnel(answer);
  await peer.system.applyFirewall(firewallRules(tunnel), signal);
  const wireguard = await peer.system.openWireGuard();
  await wireguard.setAddress(`${tunnel.ip}/32`);
  await wireguard.syncconf(tunnelConfig(privateKey, tunnel));
  for (const server of tunnel.servers) await wireguard.addRoute(`${server.ip}/32`);
}
