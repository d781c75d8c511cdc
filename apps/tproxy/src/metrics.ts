import { Counter, Gauge, Histogram } from "@dstack/daemon";
import type { Registry } from "@dstack/daemon";
import type { Store } from "@dstack/store";
import type { ConnectionReport, DataPlane } from "@dstack/tls-proxy";
import type { NodeRegistry } from "./registry/nodes.js";
import type { InstanceRegistry } from "./registry/registry.js";
import type { Tunnel } from "./wireguard/tunnel.js";
import { unheard } from "./wireguard/unheard.js";

/** What operators watch. The two `insecure` gauges say when registrations must not be trusted. */
export interface TproxyMetrics {
  readonly registered: Counter<"anchor">;
  readonly refused: Counter<"reason">;
  readonly recycled: Counter;
  readonly certificateEnd: Gauge<"names">;
  readonly certificateRefused: Counter;
  readonly certificateKeyQuoted: Gauge;
  readonly tunnelRestarts: Counter;
  readonly dataPlaneTroubles: Counter;
  readonly engine: Gauge<"engine">;
  connection(report: ConnectionReport): void;
  /** Gauges that are read when they are asked for. */
  watch(parts: {
    registry: InstanceRegistry;
    tunnel: Tunnel;
    plane: DataPlane;
    nodes: NodeRegistry;
    store: Store;
  }): void;
}

const SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export function registerMetrics(
  registry: Registry,
  insecure: { simulatedRoots: number; allowAllMeasurements: boolean },
): TproxyMetrics {
  const registers = [registry];
  const counter = <T extends string>(name: string, help: string, ...labelNames: T[]): Counter<T> =>
    new Counter({ name: `tproxy_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string, collect?: () => number): Gauge =>
    new Gauge({
      name: `tproxy_${name}`,
      help,
      registers,
      ...(collect === undefined
        ? {}
        : {
            collect(this: Gauge) {
              this.set(collect());
            },
          }),
    });
  const histogram = (name: string, help: string): Histogram =>
    new Histogram({ name: `tproxy_${name}`, help, buckets: SECONDS, registers });

  gauge("insecure_simulated_roots", "Simulated root CAs that are trusted").set(insecure.simulatedRoots);
  gauge("insecure_allow_all_measurements", "1 when any image may register").set(
    Number(insecure.allowAllMeasurements),
  );
  const connections = counter("connections_total", "Connections that are over", "outcome", "mode");
  const bytes = counter("bytes_total", "Bytes relayed", "direction");
  const handshakes = histogram("tls_handshake_seconds", "TLS handshakes terminated");
  const connects = histogram("connect_seconds", "Time to connect to an instance");
  return {
    registered: counter("registrations_total", "Answered RegisterCvm calls", "anchor"),
    refused: counter(
      "registrations_refused_total",
      "RegisterCvm calls of attested callers that were refused",
      "reason",
    ),
    recycled: counter("instances_recycled_total", "Instances forgotten because they were not seen for long"),
    certificateEnd: new Gauge({
      name: "tproxy_certificate_not_after_seconds",
      help: "Unix time at which a certificate of the proxy runs out",
      labelNames: ["names"],
      registers,
    }),
    certificateRefused: counter("certificate_refused_total", "New certificates that were not taken into use"),
    certificateKeyQuoted: gauge(
      "certificate_key_quoted",
      "1 when there is a quote for the key of each certificate of the proxy",
    ),
    tunnelRestarts: counter("wireguard_restarts_total", "Times wireguard-go was found dead"),
    engine: new Gauge({
      name: "tproxy_data_plane_engine",
      help: "1 for the engine that carries the connections",
      labelNames: ["engine"],
      registers,
    }),
    dataPlaneTroubles: counter(
      "data_plane_troubles_total",
      "Times the native data plane ended by itself, did not start, or did not take a certificate",
    ),
    connection(report) {
      connections.inc({ outcome: report.outcome, mode: report.mode ?? "none" });
      bytes.inc({ direction: "to_app" }, report.bytesToApp);
      bytes.inc({ direction: "to_client" }, report.bytesToClient);
      if (report.handshakeMs !== undefined) handshakes.observe(report.handshakeMs / 1000);
      if (report.connectMs !== undefined) connects.observe(report.connectMs / 1000);
    },
    watch({ registry: instances, tunnel, plane, nodes, store }) {
      gauge("instances", "Registered instances", () => instances.list().length);
      gauge("instances_unheard", "Of them, those that this node has not heard yet and cannot reach", () =>
        unheard(instances, tunnel),
      );
      gauge(
        "store_reachable",
        "0 while what is known of other nodes may be old, and nobody can register",
        () => Number(store.trouble === undefined),
      );
      gauge(
        "nodes_alive",
        "Nodes that keep their lease, this one among them",
        () => nodes.list().filter(({ alive }) => alive).length,
      );
      gauge("node_draining", "1 while an operator has this node drained", () =>
        Number(nodes.self().draining),
      );
      gauge("connections_open", "Connections open now", () => plane.stats().open);
    },
  };
}
