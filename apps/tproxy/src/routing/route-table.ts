import type { Backend, PortRange, RouteTable } from "@dstack/tls-proxy";
import type { Instance } from "../registry/instance.js";

/** Unix seconds of each peer's last handshake, by public key. */
export type Handshakes = ReadonlyMap<string, number>;

/**
 * Seconds after which a peer without a handshake counts as dead. A live guest sends every 25 s and makes a new
 * handshake at the latest after 120 s + 5 s (WireGuard's REKEY_AFTER_TIME and REKEY_TIMEOUT); 180 s is where its
 * session ends (REJECT_AFTER_TIME). The rest is for our own polling.
 */
export const STALE_AFTER_S = 200;

/**
 * Orders an app's instances: freshest handshake first. Dead ones are left out while there is a live one, and ones
 * that never shook hands, which may be about to, come after the live ones.
 */
export function preferredInstances(
  instances: readonly Instance[],
  handshakes: Handshakes,
  now: number,
): Instance[] {
  const at = (instance: Instance): number => handshakes.get(instance.publicKey) ?? 0;
  const ordered = instances.toSorted(
    (a, b) => at(b) - at(a) || b.registeredAt - a.registeredAt || (a.instanceId < b.instanceId ? -1 : 1),
  );
  const live = ordered.filter((instance) => now - at(instance) <= STALE_AFTER_S);
  if (live.length === 0) return ordered;
  return [...live, ...ordered.filter((instance) => at(instance) === 0)];
}

/**
 * The table the data plane works with, by app id and by instance id. Instances that are drained are not in it.
 * @param fixed.leadsElsewhere says of an instance that its address leads to another one for now: it is left out, too (P5)
 */
export function routeTable(
  all: readonly Instance[],
  handshakes: Handshakes,
  now: number,
  {
    leadsElsewhere = () => false,
    ...fixed
  }: {
    readonly baseDomains: readonly string[];
    readonly allowedPorts: readonly PortRange[];
    readonly leadsElsewhere?: (instance: Instance) => boolean;
  },
): RouteTable {
  const instances = all.filter((instance) => !instance.draining && !leadsElsewhere(instance));
  const apps = new Map<string, Instance[]>();
  for (const instance of instances) {
    const app = apps.get(instance.appId);
    if (app === undefined) apps.set(instance.appId, [instance]);
    else app.push(instance);
  }
  const backends = new Map<string, readonly Backend[]>();
  // An instance id that is also an app id must not take the app's traffic, nor that of one that is drained.
  const appIds = new Set<string>(all.map(({ appId }) => appId));
  for (const instance of instances) {
    if (!appIds.has(instance.instanceId)) backends.set(instance.instanceId, ownRoute(instance));
  }
  for (const [appId, members] of apps) {
    backends.set(appId, preferredInstances(members, handshakes, now).flatMap(ownRoute));
  }
  return { ...fixed, backends };
}

/** Where an instance's own id leads: the same object for the same instance, so that the data plane sees what is new. */
const ownRoutes = new WeakMap<Instance, readonly [Backend]>();

function ownRoute(instance: Instance): readonly [Backend] {
  const known = ownRoutes.get(instance);
  if (known !== undefined) return known;
  const { appId, instanceId, ip: host, proxyProtocolPorts, publicPorts } = instance;
  const route = [
    {
      appId,
      instanceId,
      host,
      ...(proxyProtocolPorts === undefined ? {} : { proxyProtocolPorts }),
      ...(publicPorts === undefined ? {} : { publicPorts }),
    },
  ] as const;
  ownRoutes.set(instance, route);
  return route;
}
