import { InputError } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { Handler } from "@dstack/prpc";
import type { tproxy } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { StoreError } from "@dstack/store";
import { parsePublicKey } from "@dstack/wireguard-tools-wrapper";
import type { TproxyContext } from "../context.js";
import { identityOf, requireOwnKey, requireOwnKms } from "../registry/own-key.js";
import type { NodeRegistry } from "../registry/nodes.js";
import { RegistryError } from "../registry/registry.js";

type RegisterCvm = (typeof tproxy.Tproxy)["method"]["registerCvm"];

/** From this version on a guest reads `servers`. */
const KNOWS_SERVERS = 2;

/** What the data plane keeps of an instance. */
const MAX_PORTS = { proxy_protocol_ports: 18, public_ports: 66 };

/**
 * `Tproxy.RegisterCvm`: gives the calling VM its address in the tunnel. Who it is comes from its evidence alone; only
 * its WireGuard key is its own word, and that must not be another instance's (E12).
 */
export const registerCvm =
  (context: TproxyContext): Handler<RegisterCvm["input"], RegisterCvm["output"], VerifiedPeer> =>
  async (request, call) => {
    const peer = requireAttested(call);
    try {
      requireOwnKms(context.kmsCaHash, peer);
      requireOwnKey(context.registry, peer);
      if (request.freshEvidence !== undefined) await context.challenges.verify(call, request.freshEvidence);
      else requireNoFreshEvidence(context);
      const instance = await context.registry.register({
        ...identityOf(peer),
        publicKey: parsePublicKey(request.clientPublicKey),
        proxyProtocolPorts: parsePorts("proxy_protocol_ports", request.proxyProtocolPorts),
        publicPorts: parsePorts("public_ports", request.publicPorts),
      });
      await context.tunnel.sync();
      await context.publishRoutes();
      context.metrics.registered.inc({ anchor: peer.anchor });
      context.log.info(
        {
          appId: peer.appId,
          instanceId: peer.instanceId,
          ip: instance.ip,
          freshEvidence: request.freshEvidence !== undefined,
          again: peer.systemReady,
        },
        "instance registered",
      );
      return answer(context, instance.ip, request.clientVersion);
    } catch (err) {
      context.metrics.refused.inc({ reason: reasonOf(err) });
      throw err;
    }
  };

/** Its own word, as its WireGuard key is: it concerns nobody's connections but its own. */
function parsePorts(field: keyof typeof MAX_PORTS, ports: readonly number[]): readonly number[] {
  const most = MAX_PORTS[field];
  if (ports.length > most || !ports.every((port) => port >= 1 && port <= 65535)) {
    throw new InputError(`${field} must be at most ${most} ports`);
  }
  return ports;
}

function requireNoFreshEvidence({ requireFreshEvidence }: TproxyContext): void {
  if (!requireFreshEvidence) return;
  throw new RpcError(
    "permission_denied",
    "this tproxy wants fresh evidence: call GetChallenge and send a quote over the challenge with RegisterCvm; " +
      "a guest image that does not must be updated, or tproxy run with require_fresh_evidence = false",
  );
}

function answer({ site, nodes }: TproxyContext, clientIp: string, clientVersion: number) {
  const self = nodes.self();
  return {
    wg: {
      serverPublicKey: self.publicKey,
      clientIp,
      serverIp: self.ip,
      serverEndpoint: self.endpoint,
    },
    tappd: { externalPort: site.externalPort, internalPort: site.tappdPort, domain: site.baseDomain },
    servers: clientVersion >= KNOWS_SERVERS ? servers(nodes) : [],
  };
}

/** Every node, the one that answers first; those that are down now, too: they may be up when the others are not. */
function servers(nodes: NodeRegistry) {
  const self = nodes.self();
  const others = nodes.list().filter((node) => node.name !== self.name && !node.removed);
  return [self, ...others].map(({ publicKey, ip, endpoint, rpcUrl }) => ({
    publicKey,
    ip,
    endpoint,
    rpcUrl: rpcUrl ?? "",
  }));
}

function reasonOf(err: unknown): string {
  if (err instanceof RegistryError) return err.code;
  if (err instanceof StoreError) return "store";
  if (err instanceof InputError) return "bad_key";
  return err instanceof RpcError ? err.code : "internal";
}
