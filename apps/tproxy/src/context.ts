import type { Logger } from "@dstack/daemon";
import type { DataPlane } from "@dstack/tls-proxy";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import type { KeyEvidenceStore } from "./certificate/key-evidence.js";
import type { KeyHistory } from "./certificate/key-history.js";
import type { ProxyCertificate } from "./certificate/proxy-certificate.js";
import type { TproxyMetrics } from "./metrics.js";
import type { InstanceRegistry } from "./registry/registry.js";
import type { Tunnel } from "./wireguard/tunnel.js";

/** What guests are told about this node. */
export interface NodeInfo {
  readonly publicKey: WireGuardPublicKey;
  /** Our address in the tunnel. */
  readonly ip: string;
  /** `host:port` */
  readonly endpoint: string;
  readonly baseDomain: string;
  /** The port under which the world reaches the proxy. */
  readonly externalPort: number;
  /** tappd's port inside guests. */
  readonly tappdPort: number;
}

/** What the methods of tproxy work with. */
export interface TproxyContext {
  readonly node: NodeInfo;
  readonly registry: InstanceRegistry;
  readonly tunnel: Tunnel;
  readonly plane: DataPlane;
  readonly certificate: ProxyCertificate;
  readonly keyHistory: KeyHistory;
  readonly keyEvidence: KeyEvidenceStore;
  /** What certbot says about its accounts. */
  readonly acmeAccountFile: string;
  /** Gives the data plane the routes as they are now. */
  readonly publishRoutes: () => void;
  readonly metrics: TproxyMetrics;
  readonly log: Logger;
}
