import type { QuoteProvider, RuntimeEventLog } from "@dstack/tdx-attest";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { attestedCall } from "../attested-call.js";
import type { AttestedPeer } from "../attested-call.js";
import type { Identity } from "../identity.js";
import { certificateFor } from "./boot-certificate.js";
import { bringUpTunnel, register } from "../tunnel/register.js";
import { urlsOf } from "../tunnel/renew.js";
import { SAVED_TUNNEL, writeSavedTunnel } from "../tunnel/saved-tunnel.js";
import { TAPPD_PORTS } from "../tunnel/tunnel.js";

/**
 * Registers with tproxy and brings the tunnel up, firewall first (G5). What it takes to register again stays in memory.
 * @throws {RpcError} tproxy refused
 * @throws {InputError} its answer is no tunnel
 */
export async function joinTunnel(
  peer: AttestedPeer & {
    readonly provider: QuoteProvider;
    readonly events: RuntimeEventLog;
    readonly identity: Identity;
    /** Of the app's compose: on which it wants to be told who its client is. */
    readonly proxyProtocolPorts: readonly number[];
    /** Of the app's compose: on which it is reached through the tunnel. */
    readonly publicPorts: readonly number[] | undefined;
  },
  signal: AbortSignal,
): Promise<void> {
  const { privateKey } = generateKeyPair();
  const { publicPorts } = peer;
  const proxyProtocolPorts = [...new Set([...TAPPD_PORTS, ...peer.proxyProtocolPorts])];
  // The KMS has been measured since the first certificate, and fresh evidence must be of the guest in the certificate.
  const { keyPem } = peer.certificate;
  const certificate = await certificateFor(keyPem, peer.provider, peer.events, peer.identity, signal);
  const tunnel = await attestedCall(
    { ...peer, certificate },
    { step: "wireguard", service: "tproxy", urlKey: "tproxy_url" },
    (transport) =>
      register(transport, peer.events, { wireguardKey: privateKey, proxyProtocolPorts, publicPorts }, signal),
    signal,
  );
  await bringUpTunnel(peer.system, { wireguardKey: privateKey, publicPorts }, tunnel, signal);
  const { appId, instanceId } = peer.identity;
  const saved = {
    appId,
    instanceId,
    tlsKey: keyPem,
    wireguardKey: privateKey,
    proxyProtocolPorts,
    publicPorts,
    caPem: peer.caPem,
    urls: urlsOf(peer.url ?? "", tunnel),
  };
  await peer.system.writeRunFile(SAVED_TUNNEL, writeSavedTunnel(saved));
}
