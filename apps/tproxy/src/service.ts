import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { InputError, errorMessage, readRegularFile } from "@dstack/core";
import { ResourceStack, addHealthAndMetrics, createLogger, createRegistry } from "@dstack/daemon";
import type { Logger } from "@dstack/daemon";
import type { PageFiles } from "@dstack/dashboard";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import { tproxy } from "@dstack/proto";
import { Challenges, createDaemonVerifier, listenRaRpc, requireAttested } from "@dstack/ra-rpc";
import type { PeerVerifier, VerifiedPeer } from "@dstack/ra-tls";
import { CustomDomains } from "@dstack/tls-proxy";
import type { CheckedCertificate, DataPlane, Dial, ResolveTxt } from "@dstack/tls-proxy";
import { WireGuard } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardDevice, WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import { addAcmeInfo } from "./acme-info-page.js";
import { listenAdmin } from "./admin/listen-admin.js";
import { KeyEvidenceStore, quotesFromTappd } from "./certificate/key-evidence.js";
import { KeyHistory } from "./certificate/key-history.js";
import { ProxyCertificate } from "./certificate/proxy-certificate.js";
import { tunnelAddress } from "./config.js";
import type { TproxyConfig } from "./config.js";
import type { TproxyContext } from "./context.js";
import { pageFiles } from "./dashboard/files.js";
import { startDataPlane } from "./data-plane.js";
import { registerMetrics } from "./metrics.js";
import type { TproxyMetrics } from "./metrics.js";
import { AddressBlock } from "./registry/address-block.js";
import { NodeRegistry, isInABlock } from "./registry/nodes.js";
import { recycleLoop } from "./registry/recycling.js";
import { InstanceRegistry } from "./registry/registry.js";
import { listenRedirect } from "./redirect.js";
import { dnsResolver } from "./routing/custom-domains.js";
import { isRouted } from "./routing/is-routed.js";
import { routeTable } from "./routing/route-table.js";
import { acmeInfo } from "./rpc/acme-info.js";
import { getChallenge } from "./rpc/get-challenge.js";
import { list } from "./rpc/list.js";
import { registerCvm } from "./rpc/register-cvm.js";
import { openStore } from "./store/open-store.js";
import { StoreError } from "./store/store.js";
import type { Store } from "./store/store.js";
import { lockState } from "./state-lock.js";
import { guardStatusRoutes, requireStatusAccess } from "./status-access.js";
import type { StatusAccess } from "./status-access.js";
import { addStatusPage } from "./status-page.js";
import { EndpointMemory } from "./wireguard/endpoint-memory.js";
import { loadServerKey } from "./wireguard/server-key.js";
import { Tunnel } from "./wireguard/tunnel.js";

/** What a test replaces. */
export interface TproxyParts {
  readonly log: Logger;
  readonly verifier: PeerVerifier;
  /** The tunnel; tproxy disposes of it. */
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
  /** Reads the certificate files now, not only at the next look. */
  reloadCertificate(): Promise<void>;
  /** How long open connections may take to end when it is disposed of. */
  readonly finishMs: number;
}

const MAX_PEM_BYTES = 256 * 1024;

const SMALL_BODY_BYTES = 4096;
/** Quote and event log as an RA-TLS certificate carries them, at most 64 KiB, of which JSON makes twice as much. */
const EVIDENCE_BODY_BYTES = 128 * 1024;
const ATTESTED_METHODS: ReadonlySet<string> = new Set([
  tproxy.Tproxy.method.registerCvm.name,
  tproxy.Tproxy.method.getChallenge.name,
]);

/** Registration wants to know who calls, the list where from. They are refused before the request's body is read. */
export function tproxyService(context: TproxyContext, statusFrom: StatusAccess): ServiceImpl<VerifiedPeer> {
  return implement<typeof tproxy.Tproxy, VerifiedPeer>(
    tproxy.Tproxy,
    {
      registerCvm: registerCvm(context),
      getChallenge: getChallenge(context),
      list: list(context),
      acmeInfo: acmeInfo(context),
    },
    {
      guard: (method, call) => {
        if (ATTESTED_METHODS.has(method)) requireAttested(call);
        if (method === tproxy.Tproxy.method.list.name) requireStatusAccess(statusFrom, call.remoteAddress);
      },
      bodyLimits: {
        ...Object.fromEntries(tproxy.Tproxy.methods.map(({ name }) => [name, SMALL_BODY_BYTES])),
        [tproxy.Tproxy.method.registerCvm.name]: EVIDENCE_BODY_BYTES,
      },
    },
  );
}

/**
 * Starts a tproxy: takes up the registrations and the tunnel a predecessor left, then listens.
 * @throws {InputError} files or configuration that cannot be used, or another tproxy with this state directory
 * @throws WireGuardError the tunnel cannot be made
 * @throws CertificateError the proxy's certificate does not fit
 * @throws PolicyError an allow-list that allows nothing (E9)
 */
export async function startTproxy(config: TproxyConfig, parts: Partial<TproxyParts> = {}): Promise<Tproxy> {
  const log = parts.log ?? createLogger({ name: "tproxy" });
  await using stack = new ResourceStack();
  const stopping = new AbortController();
  await mkdir(config.state_dir, { recursive: true, mode: 0o700 });
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
  const nodes = new NodeRegistry(store);
  await joinNodes(config, nodes, serverKey.publicKey, log);
  const registry = new InstanceRegistry({
    store,
    block: new AddressBlock(config.wg.client_ip_range, [config.wg.ip]),
    isInABlock: (ip) => isInABlock(nodes.list(), ip),
    isNodeKey: (publicKey) => nodes.list().some((node) => node.publicKey === publicKey),
    now: unixNow,
    log,
  });
  const device = stack.use(parts.wireguard ?? (await openWireGuard(config, metrics, log)));
  const server = { privateKey: serverKey.privateKey, listenPort: config.wg.listen_port };
  const endpoints = await EndpointMemory.open(join(config.state_dir, "endpoints.json"));
  const tunnel = new Tunnel(device, server, registry, endpoints, log);
  await bringUp(config, tunnel, nodes);

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
  let loaded: CheckedCertificate | undefined;
  const certificate = await ProxyCertificate.load({
    certPath: config.proxy.cert_chain,
    keyPath: config.proxy.cert_key,
    baseDomains,
    history: keyHistory,
    evidence: keyEvidence,
    log,
    onLoaded: (next) => {
      loaded = next;
      plane?.setCertificate(next);
      metrics.certificateEnd.set(Math.floor(next.notAfterMs / 1000));
    },
    onRefused: () => metrics.certificateRefused.inc(),
    onEvidence: (exists) => metrics.certificateKeyQuoted.set(Number(exists)),
  });

  const routes = () =>
    routeTable(registry.list(), tunnel.handshakes, unixNow(), {
      baseDomains,
      allowedPorts: config.proxy.allowed_ports,
    });
  let published = routes();
  const domains = new CustomDomains({
    resolveTxt: parts.resolveTxt ?? dnsResolver(config.proxy.dns_servers),
  });
  const { listen_addr: host, listen_port: port, listen_port_passthrough: passthroughPort } = config.proxy;
  const proxyProtocolFrom = config.proxy.proxy_protocol_from;
  const started = await startDataPlane(
    config.proxy.engine,
    {
      listeners: [
        { host, port, proxyProtocolFrom },
        ...(passthroughPort === undefined
          ? []
          : [{ host, port: passthroughPort, proxyProtocolFrom, passthroughOnly: true }]),
      ],
      routes: published,
      ...(loaded === undefined ? {} : { certificate: loaded }),
      limits: limitsOf(config),
      lookup: (domain, source) => domains.lookup(domain, source),
      onConnection: (report) => {
        metrics.connection(report);
        if (report.outcome !== "internal_error") return log.debug(report, "connection over");
        const { error, ...facts } = report;
        log.error({ ...facts, err: error }, "connection failed by our fault");
      },
    },
    {
      onTrouble: (err) => {
        metrics.dataPlaneTroubles.inc();
        log.error({ err }, "the data plane is in trouble");
      },
      onFallback: (err) =>
        log.warn(
          { err },
          "the native data plane cannot run here: the one in plain Node carries the connections",
        ),
      dial: parts.dial,
      threads: config.proxy.threads,
    },
  );
  plane = stack.use(started.plane);
  metrics.engine.set({ engine: started.engine }, 1);
  metrics.watch({ registry, plane, nodes, store });
  const [draining, finishMs] = [plane, config.proxy.drain_secs * 1000];
  stack.defer(async () => {
    await draining.setAccepting(false);
    await draining.drain("all", finishMs);
  });
  const proxyPort = plane.listeners[0]?.port ?? port;

  const redirect =
    config.proxy.listen_port_http === undefined
      ? undefined
      : stack.use(
          await listenRedirect({
            host,
            port: config.proxy.listen_port_http,
            httpsPort: config.external_port ?? proxyPort,
            isRouted: (name, source) => isRouted(name, source, published, domains),
          }),
        );

  const context: TproxyContext = {
    site: {
      baseDomain: config.proxy.base_domain,
      externalPort: config.external_port ?? proxyPort,
      tappdPort: config.proxy.tappd_port,
    },
    store,
    nodes,
    registry,
    challenges: new Challenges({ purpose: "tproxy-register", verifier }),
    requireFreshEvidence: config.require_fresh_evidence,
    tunnel,
    plane,
    certificate,
    keyHistory,
    keyEvidence,
    acmeAccountFile: config.acme_account_file ?? join(config.state_dir, "acme-account.json"),
    publishRoutes: () => {
      published = routes();
      plane?.setRoutes(published);
    },
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
    tunnel.run(context.publishRoutes, stopping.signal),
    certificate.watch(stopping.signal),
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
    reloadCertificate: () => certificate.reload(),
    finishMs,
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}

/** What other nodes and operators change comes to the tunnel and to the data plane. */
function followStore(context: TproxyContext, signal: AbortSignal): void {
  const { nodes, registry, tunnel, plane, log } = context;
  const onError = (err: unknown): void => log.error({ err }, "following the store failed");
  const follow = async (): Promise<void> => {
    // An instance that is gone loses its routes before its address can lead to another one.
    context.publishRoutes();
    await tunnel.sync();
    context.publishRoutes();
  };
  let accepting = true;
  const followNodes = async (): Promise<void> => {
    await tunnel.addRoutes(nodes.list().map(({ clientRange }) => clientRange));
    const wanted = !nodes.self().draining;
    if (wanted === accepting) return;
    accepting = wanted;
    await plane.setAccepting(wanted);
    log.info(wanted ? "this node takes new connections again" : "this node is drained: no new connections");
  };
  registry.onChange(() => {
    if (!signal.aborted) follow().catch(onError);
  });
  nodes.onChange(() => {
    if (!signal.aborted) followNodes().catch(onError);
  });
  followNodes().catch(onError);
}

/** A node that has lost its store still serves, and says so. @throws while it should get no connections */
function health({ tunnel, nodes, store }: TproxyContext): string[] {
  tunnel.assertAlive();
  if (nodes.self().draining) throw new Error("this node is drained");
  return store.trouble === undefined ? [] : [`what is known of other nodes may be old: ${store.trouble}`];
}

async function openWireGuard(config: TproxyConfig, metrics: TproxyMetrics, log: Logger): Promise<WireGuard> {
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

async function bringUp(config: TproxyConfig, tunnel: Tunnel, nodes: NodeRegistry): Promise<void> {
  await tunnel.device.setAddress(tunnelAddress(config));
  await tunnel.sync();
  await tunnel.addRoutes(nodes.list().map(({ clientRange }) => clientRange));
  await tunnel.poll();
}

/**
 * Tells the other nodes what this one is. While the store is away, what it told them last has to do.
 * @throws {InputError} its addresses or its key are another node's
 */
async function joinNodes(
  { wg, store, rpc_url: rpcUrl }: TproxyConfig,
  nodes: NodeRegistry,
  publicKey: WireGuardPublicKey,
  log: Logger,
): Promise<void> {
  const self = { publicKey, ip: wg.ip, endpoint: wg.endpoint, rpcUrl, clientRange: wg.client_ip_range };
  try {
    await nodes.join(self, store === "file");
  } catch (err) {
    if (!(err instanceof StoreError)) throw err;
    nodes.self();
    log.error({ err }, "the other nodes were not told of this start");
  }
}

function limitsOf({ proxy: { limits } }: TproxyConfig) {
  return {
    firstByteMs: limits.hello_secs * 1000,
    helloMs: limits.hello_secs * 1000,
    handshakeMs: limits.handshake_secs * 1000,
    connectMs: limits.connect_secs * 1000,
    idleMs: limits.idle_secs * 1000,
    halfClosedMs: limits.half_closed_secs * 1000,
    totalMs: limits.total_secs * 1000,
    connections: limits.connections,
    connectionsPerApp: limits.connections_per_app,
    connectionsPerSource: limits.connections_per_source,
  };
}

async function loadIdentity(tls: TproxyConfig["tls"]): Promise<{ key: string; certChain: string }> {
  const read = async (what: string, path: string): Promise<string> => {
    try {
      return Buffer.from(await readRegularFile(path, MAX_PEM_BYTES)).toString("utf8");
    } catch (err) {
      throw new InputError(`[tls] ${what}: ${errorMessage(err)}`, { cause: err });
    }
  };
  return { key: await read("key", tls.key), certChain: await read("certs", tls.certs) };
}

function policyWarnings({ simulatedRoots, policy }: PeerVerifier): string[] {
  const warnings: string[] = [];
  if (simulatedRoots.length > 0) {
    warnings.push(
      "INSECURE: simulated platforms are trusted; whoever has their seed can register as any app",
    );
  }
  if (policy.images.allow_all) warnings.push("INSECURE: allow_all = true, any image may register");
  return warnings;
}

function unixNow(): number {
  return Math.floor(Date.now() / 1000);
}
