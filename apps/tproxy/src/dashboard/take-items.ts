import type { TproxyContext } from "../context.js";
import type { InstanceItem, Item, NodeItem, SiteItem } from "./items.js";

/** What the dashboard is told of this site's configuration. */
export interface SiteFacts {
  readonly baseDomains: readonly string[];
  readonly store: "file" | "etcd";
}

/** Everything that the dashboard shows as it changes: the site, then nodes, then instances. */
export function dashboardItems(context: TproxyContext, facts: SiteFacts): Item[] {
  return [siteItem(context, facts), ...nodeItems(context), ...instanceItems(context)];
}

function siteItem({ site, plane, certificates, store }: TproxyContext, facts: SiteFacts): SiteItem {
  return {
    kind: "site",
    id: "site",
    base_domains: facts.baseDomains,
    external_port: site.externalPort,
    connections: plane.stats().open,
    certificate: {
      not_after: certificates.notAfterMs,
      ...(certificates.refusal !== undefined && { refusal: certificates.refusal }),
    },
    store: {
      kind: facts.store,
      as_of: store.asOf,
      ...(store.trouble !== undefined && { trouble: store.trouble }),
    },
  };
}

function nodeItems({ nodes, store }: TproxyContext): NodeItem[] {
  return nodes.list().map(({ name, ip, endpoint, clientRange, alive, draining, removed }) => ({
    kind: "node",
    id: `node/${name}`,
    name,
    ip,
    endpoint,
    client_range: clientRange,
    alive,
    draining,
    removed,
    self: name === store.node,
  }));
}

function instanceItems({ registry, tunnel, plane }: TproxyContext): InstanceItem[] {
  const { openByInstance } = plane.stats();
  const registered = registry.list().map(({ instanceId, appId, ip, draining, publicKey }): InstanceItem => {
    const traffic = tunnel.traffic.get(publicKey);
    return {
      kind: "instance",
      id: instanceId,
      app_id: appId,
      draining,
      connections: openByInstance.get(instanceId) ?? 0,
      registered: {
        ip,
        handshake: (tunnel.handshakes.get(publicKey) ?? 0) * 1000,
        to_instance: traffic?.sent ?? 0,
        from_instance: traffic?.received ?? 0,
      },
    };
  });
  const gone = registry.listDrainedAndGone().map(({ instanceId, appId }): InstanceItem => ({
    kind: "instance",
    id: instanceId,
    app_id: appId,
    draining: true,
    connections: openByInstance.get(instanceId) ?? 0,
  }));
  return [...registered, ...gone];
}
