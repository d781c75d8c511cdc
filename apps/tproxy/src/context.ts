import type { Logger } from "@dstack/daemon";
import type { Challenges } from "@dstack/ra-rpc";
import type { Store } from "@dstack/store";
import type { DataPlane } from "@dstack/tls-proxy";
import type { KeyEvidenceStore } from "./certificate/key-evidence.js";
import type { KeyHistory } from "./certificate/key-history.js";
import type { ProxyCertificates } from "./certificate/proxy-certificates.js";
import type { TproxyMetrics } from "./metrics.js";
import type { Redirect } from "./redirect.js";
import type { Membership } from "./registry/membership.js";
import type { NodeRegistry } from "./registry/nodes.js";
import type { InstanceRegistry } from "./registry/registry.js";
import type { Tunnel } from "./wireguard/tunnel.js";

/** What guests are told of the site, whichever node they ask. */
export interface SiteInfo {
  readonly baseDomain: string;
  /** The port under which the world reaches the proxy. */
  readonly externalPort: number;
  /** tappd's port inside guests. */
  readonly tappdPort: number;
}

/** What the methods of tproxy work with. */
export interface TproxyContext {
  readonly site: SiteInfo;
  readonly store: Store;
  readonly nodes: NodeRegistry;
  readonly membership: Membership;
  readonly registry: InstanceRegistry;
  readonly challenges: Challenges;
  readonly requireFreshEvidence: boolean;
  /** 64 hex digits, SHA-256 of our KMS's root CA certificate. */
  readonly kmsCaHash: string;
  readonly tunnel: Tunnel;
  readonly plane: DataPlane;
  /** Where plain HTTP is sent to HTTPS. */
  readonly redirect: Redirect | undefined;
  readonly certificates: ProxyCertificates;
  readonly keyHistory: KeyHistory;
  readonly keyEvidence: KeyEvidenceStore;
  /** What certbots say about their accounts. */
  readonly acmeAccountFiles: readonly string[];
  /** Gives the data plane the routes as they are now, or a moment later when others have asked for it just before. */
  readonly publishRoutes: () => Promise<void>;
  readonly metrics: TproxyMetrics;
  readonly log: Logger;
}
