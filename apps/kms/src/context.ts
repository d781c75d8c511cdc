import type { Logger } from "@dstack/daemon";
import type { Challenges } from "@dstack/ra-rpc";
import type { DiskKeyContext, PeerVerifier } from "@dstack/ra-tls";
import type { CertLog } from "./cert-log/cert-log.js";
import type { RootKeys } from "./keys/root-keys.js";
import type { KmsMetrics } from "./metrics.js";
import type { ReleasePolicy } from "./policy/key-release.js";

/** What the methods of the KMS work with. */
export interface KmsContext {
  readonly root: RootKeys;
  readonly release: ReleasePolicy;
  readonly verifier: PeerVerifier;
  readonly challenges: Challenges;
  readonly certLog: CertLog;
  readonly diskKeyMode: DiskKeyContext["mode"];
  readonly subjectPostfix: string;
  readonly metrics: KmsMetrics;
  readonly log: Logger;
}
