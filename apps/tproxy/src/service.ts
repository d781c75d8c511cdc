import { join } from "node:path";
import { Paced } from "@dstack/core";
import { ResourceStack, addHealthAndMetrics, createLogger, createRegistry } from "@dstack/daemon";
import type { Logger } from "@dstack/daemon";
import type { PageFiles } from "@dstack/dashboard";
import { Challenges, createDaemonVerifier, listenRaRpc } from "@dstack/ra-rpc";
import type { PeerVerifier } from "@dstack/ra-tls";
import type { Store } from "@dstack/store";
import { CustomDomains } from "@dstack/tls-proxy";
import type { DataPlane, Dial, ResolveTxt } from "@dstack/tls-proxy";
import type { WireGuardDevice } from "@dstack/wireguard-tools-wrapper";
import { addAcmeInfo } from "./acme-info-page.js";
import { listenAdmin } from "./admin/listen-admin.js";
import { KeyEvidenceStore, quotesFromTappd } from "./certificate/key-evidence.js";
import { KeyHistory } from "./certificate/key-history.js";
import { ProxyCertificates } from "./certificate/proxy-certificates.js";
import { describeNode } from "./config.js";
import type { TproxyConfig } from "./config.js";
import type { TproxyContext } from "./context.js";
import { pageFiles } from "./dashboard/files.js";
import { followStore } from "./follow-store.js";
import { health, policyWarnings } from "./health.js";
import { loadIdentity } from "./identity.js";
import { listenProxy } from "./listen-proxy.js";
import { registerMetrics } from "./metrics.js";
import { listenRedirect } from "./redirect.js";
import { AddressBlock } from "./registry/address-block.js";
import { Membership } from "./registry/membership.js";
import { NodeRegistry, isInABlock } from "./registry/nodes.js";
import { recycleLoop } from "./registry/recycling.js";
import { InstanceRegistry } from "./registry/registry.js";
import { dnsResolver } from "./routing/custom-domains.js";
import { isRouted } from "./routing/is-routed.js";
import { routeTable } from "./routing/route-table.js";
import { tproxyService } from "./rpc/tproxy-service.js";
import { lockState } from "./state-lock.js";
import { guardStatusRoutes } from "./status-access.js";
import { addStatusPage } from "./status-page.js";
import { openStore } from "./open-store.js";
import { EndpointMemory } from "./wireguard/endpoint-memory.js";
import { bringUp, openWireGuard } from "./wireguard/open-wireguard.js";
import { loadServerKey } from "./wireguard/server-key.js";
import { tellNodes } from "./wireguard/tell-nodes.js";
import { Tunnel } from "./wireguard/tunnel.js";

/** With thousands of instances a table of routes takes milliseconds, and thousands may register at once. */
const PUBLISHING_SHARE = 0.1;

/** What a test replaces. */
export interface TproxyParts {
  readonly log: Logger;
  readonly verifier: PeerVerifier;
  /** The tunnel; tproxy releases it. */
  readonly wireguard: WireGuardDevice;
  /** tproxy closes it. */
  readonly store: Store;
  /** Leads connections to instances elsewhere; with `engine = "js"`. */
  readonly dial: Dial;
  readonly resolveTxt: ResolveTxt;
  /** The dashboard's files, instead of the ones that were built last. */
  readonly page: PageFiles;
}

/** A running tproxy. */
export interface Tproxy extends AsyncDisposable {
  readonly registry: InstanceRegistry;
  readonly nodes: NodeRegistry;
  /** Of the RPC listener. */
  readonly port: number;
  /** `https://host:port` of the RPC listener. */
  readonly url: string;
  readonly proxyPort: number;
  /** Of the listener that never terminates, where it is configured. */
  readonly passthroughPort: number | undefined;
  /** Of the listener that sends HTTP to HTTPS, where it is configured. */
  readonly redirectPort: number | undefined;
  /** Of the admin listener, where it is configured; 0 for a unix socket. */
  readonly adminPort: number | undefined;
  /** Reads the certificates' files now, not only at the next look. @returns why they are not in use; undefined where they are */
  reload(): Promise<string | undefined>;
  /** How long open connections may take to end when it is disposed of. */
  readonly finishMs: number;
}

/**
 * Starts a tproxy: takes up the registrations and the tunnel a predecessor left, then listens.
 * @throws {InputError} files or configuration that cannot be used, or another tproxy with this state directory
 * @throws WireGuardError the tunnel cannot be made
 * @throws CertificateError one of the proxy's certificates does not fit, or a base domain has none
 * @throws PolicyError an allow-list that allows nothing (E9)
 */
export async function startTproxy(config: TproxyConfig, parts: Partial<TproxyParts> = {}): Promise<Tproxy> {
  const log = parts.log ?? createLogger({ name: "tproxy", level: config.log_level });
  await using stack = new ResourceStack();
  const stopping = new AbortController();
  stack.use(await lockState(config.state_dir));
  const identity = await loadIdentity(config.tls);
  const prometheus = createRegistry();
  const verifier =
    parts.verifier ??
    (await createDaemonVerifier(config.attestation, {
      log,
      registry: prometheus,
      signal: stopping.signal,
    }));
  const warnings = policyWarnings(verifier);
  for (const warning of warnings) log.warn(warning);
  const metrics = registerMetrics(prometheus, {
    simulatedRoots: verifier.simulatedRoots.length,
    allowAllMeasurements: verifier.policy.images.allow_all,
  });

  const serverKey = await loadServerKey(config.wg);
  const store = stack.use(parts.store ?? (await openStore(config, log)));
  const nodes = new NodeRegistry(store, describeNode(config, serverKey.publicKey));
  const membership = new Membership(nodes, config.store === "file", log);
  await membership.begin();
  const registry = new InstanceRegistry({
    store,
    block: new AddressBlock(config.wg.client_ip_range, [config.wg.ip]),
    isInABlock: (ip) => isInABlock(nodes.list(), ip),
    isNodeKey: (publicKey) => nodes.list().some((node) => node.publicKey === publicKey),
    now: unixNow,
    log,
  });
  const device = parts.wireguard ?? (await openWireGuard(config, metrics, log));
  // Sessions and routes outlive us, as after kill -9; `tproxy down` removes the interface.
  stack.defer(() => device.release());
  const server = { privateKey: serverKey.privateKey, listenPort: config.wg.listen_port };
  const endpoints = await EndpointMemory.open(join(config.state_dir, "endpoints.json"));
  const tunnel = new Tunnel(device, server, registry, endpoints, log);
  await bringUp(config, tunnel, nodes);
  try {
    stack.use(await tellNodes({ host: config.wg.ip, port: config.wg.listen_port }, nodes));
  } catch (err) {
    log.warn({ err }, "guests are not told inside the tunnel when a node comes: they ask once an hour");
  }

  const keyHistory = await KeyHistory.open(join(config.state_dir, "certificate-keys.json"));
  const keyEvidence = await KeyEvidenceStore.open(
    join(config.state_dir, "key-evidence"),
    config.tappd_socket === undefined ? undefined : quotesFromTappd(config.tappd_socket),
  );
  if (!keyEvidence.canQuote) {
    log.info("no tappd_socket: certificate keys have no evidence, monitors have to take our word for them");
  }
  const baseDomains = [config.proxy.base_domain, ...config.proxy.more_base_domains];
  let plane: DataPlane | undefined;
  const certificates = await ProxyCertificates.load({
    files: [config.proxy, ...config.proxy.more_certificates].map(
      ({ cert_chain: certPath, cert_key: keyPath }) => ({
        certPath,
        keyPath,
      }),
    ),
    baseDomains,
    history: keyHistory,
    evidence: keyEvidence,
    log,
    onChanged: (current) => {
      plane?.setCertificates(current);
      metrics.certificateEnd.reset();
      for (const { names, notAfterMs } of current) {
        metrics.certificateEnd.set({ names: names.join(" ") }, Math.floor(notAfterMs / 1000));
      }
    },
    onRefused: () => metrics.certificateRefused.inc(),
    onEvidence: (exists) => metrics.certificateKeyQuoted.set(Number(exists)),
  });

  const routes = () =>
    routeTable(registry.list(), tunnel.handshakes, unixNow(), {
      baseDomains,
      allowedPorts: config.proxy.allowed_ports,
      leadsElsewhere: (instance) => tunnel.leadsElsewhere(instance),
    });
  let published = routes();
  const domains = new CustomDomains({
    resolveTxt: parts.resolveTxt ?? dnsResolver(config.proxy.dns_servers),
  });
  const started = await listenProxy(
    config,
    {
      routes: published,
      certificates: certificates.current,
      lookup: (domain, source) => domains.lookup(domain, source),
      dial: parts.dial,
    },
    metrics,
    log,
  );
  plane = stack.use(started.plane);
  metrics.engine.set({ engine: started.engine }, 1);
  metrics.watch({ registry, tunnel, plane, nodes, store });
  const [draining, finishMs] = [plane, config.proxy.drain_secs * 1000];
  stack.defer(async () => {
    await draining.setAccepting(false);
    await draining.drain("all", finishMs);
  });
  const proxyPort = plane.listeners[0]?.port ?? config.proxy.listen_port;

  const redirect =
    config.proxy.listen_port_http === undefined
      ? undefined
      : stack.use(
          await listenRedirect({
            host: config.proxy.listen_addr,
            port: config.proxy.listen_port_http,
            httpsPort: config.external_port ?? proxyPort,
            isRouted: (name, source) => isRouted(name, source, published, domains),
          }),
        );

  const publish = (): void => {
    published = routes();
    plane?.setRoutes(published);
  };
  const publishing = new Paced(publish, PUBLISHING_SHARE);
  tunnel.beforeHandover = async (departed) => {
    publish();
    await Promise.all(departed.map((instanceId) => plane?.drain({ instanceId }, 0)));
  };
  const context: TproxyContext = {
    site: {
      baseDomain: config.proxy.base_domain,
      externalPort: config.external_port ?? proxyPort,
      tappdPort: config.proxy.tappd_port,
    },
    store,
    nodes,
    membership,
    registry,
    challenges: new Challenges({ purpose: "tproxy-register", verifier }),
    requireFreshEvidence: config.require_fresh_evidence,
    kmsCaHash: identity.kmsCaHash,
    tunnel,
    plane,
    redirect,
    certificates,
    keyHistory,
    keyEvidence,
    acmeAccountFiles: [
      config.acme_account_file ?? join(config.state_dir, "acme-account.json"),
      ...config.proxy.more_certificates.flatMap(({ acme_account_file: file }) => file ?? []),
    ],
    publishRoutes: () => publishing.run(),
    metrics,
    log,
  };
  followStore(context, stopping.signal);
  const listener = stack.use(
    await listenRaRpc({
      host: config.host,
      port: config.port,
      ...identity,
      verifier,
      services: [tproxyService(context, config.status_from)],
      mount: (app) => {
        guardStatusRoutes(app, config.status_from);
        addHealthAndMetrics(app, { registry: prometheus, health: () => health(context) });
        addAcmeInfo(app, context);
        addStatusPage(app, context, warnings);
      },
      log,
    }),
  );
  const admin =
    config.admin === undefined
      ? undefined
      : stack.use(
          await listenAdmin(config, context, {
            identity,
            verifier,
            page: parts.page ?? (await pageFiles()),
            warnings,
          }),
        );
  const loops = [
    membership.keep(stopping.signal),
    tunnel.run(context.publishRoutes, stopping.signal),
    certificates.watch(stopping.signal),
    recycleLoop(context, config.wg.recycle_after_secs, unixNow, stopping.signal),
  ];
  stack.defer(async () => {
    stopping.abort();
    await Promise.all(loops);
  });
  log.info({ url: listener.url, proxyPort, instances: registry.list().length }, "tproxy is serving");

  const resources = stack.move();
  return {
    registry,
    nodes,
    port: listener.port,
    url: listener.url,
    proxyPort,
    passthroughPort: plane.listeners[1]?.port,
    redirectPort: redirect?.port,
    adminPort: admin?.port,
    reload: () => certificates.reload(),
    finishMs,
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}

function unixNow(): number {
  return Math.floor(Date.now() / 1000);
}
