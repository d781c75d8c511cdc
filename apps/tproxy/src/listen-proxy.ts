import type { Logger } from "@dstack/daemon";
import type { CheckedCertificate, DataPlane, DataPlaneOptions, Dial } from "@dstack/tls-proxy";
import type { TproxyConfig } from "./config.js";
import { startDataPlane } from "./data-plane.js";
import type { Engine } from "./data-plane.js";
import type { TproxyMetrics } from "./metrics.js";

/** What the proxy begins with. */
export interface ProxyParts extends Required<Pick<DataPlaneOptions, "routes" | "lookup">> {
  readonly certificates: readonly CheckedCertificate[];
  /** Leads connections elsewhere; for tests. */
  readonly dial: Dial | undefined;
}

/**
 * Starts the data plane as `[proxy]` says; what becomes of it and of its connections is counted and logged.
 * @throws a system error when a listener cannot be bound
 * @throws {EngineUnavailable} the native engine is configured and cannot run
 */
export function listenProxy(
  config: TproxyConfig,
  { routes, certificates, lookup, dial }: ProxyParts,
  metrics: TproxyMetrics,
  log: Logger,
): Promise<{ readonly plane: DataPlane; readonly engine: Engine }> {
  const { listen_addr: host, listen_port: port, listen_port_passthrough: passthroughPort } = config.proxy;
  const proxyProtocolFrom = config.proxy.proxy_protocol_from;
  return startDataPlane(
    config.proxy.engine,
    {
      listeners: [
        { host, port, proxyProtocolFrom },
        ...(passthroughPort === undefined
          ? []
          : [{ host, port: passthroughPort, proxyProtocolFrom, passthroughOnly: true }]),
      ],
      routes,
      certificates,
      limits: limitsOf(config),
      lookup,
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
      dial,
      threads: config.proxy.threads,
    },
  );
}

function limitsOf({ proxy: { limits } }: TproxyConfig) {
  return {
    firstByteMs: Math.min(limits.first_byte_secs ?? limits.hello_secs, limits.hello_secs) * 1000,
    helloMs: limits.hello_secs * 1000,
    handshakeMs: limits.handshake_secs * 1000,
    lookupMs: limits.lookup_secs * 1000,
    connectMs: limits.connect_secs * 1000,
    idleMs: limits.idle_secs * 1000,
    halfClosedMs: limits.half_closed_secs * 1000,
    totalMs: limits.total_secs * 1000,
    connections: limits.connections,
    connectionsPerApp: limits.connections_per_app,
    connectionsPerSource: limits.connections_per_source,
  };
}
