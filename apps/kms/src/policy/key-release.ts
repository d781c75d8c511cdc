import { CodedError } from "@dstack/core";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { UpgradeRegistry } from "./upgrade-registry.js";

export type ReleaseRule = "system_ready" | "foreign_ca" | "upgrade_not_allowed" | "fresh_evidence_required";

/** A peer whose evidence is good gets no keys all the same. */
export class ReleaseError extends CodedError<ReleaseRule> {
  override name = "ReleaseError";
  readonly rpcCode = "permission_denied";
}

export interface ReleasePolicy {
  /** 64 hex digits: SHA-256 of our root CA certificate. */
  readonly caCertHash: string;
  readonly allowAnyUpgrade: boolean;
  /** The evidence of the client certificate alone releases nothing. */
  readonly requireFreshEvidence: boolean;
  readonly upgrades: Pick<UpgradeRegistry, "isAllowed">;
}

/**
 * Decides whether a request may come without an answer to a challenge.
 * @throws {ReleaseError} `fresh_evidence_required`
 */
export function requireFresh(policy: Pick<ReleasePolicy, "requireFreshEvidence">, isFresh: boolean): void {
  if (isFresh || !policy.requireFreshEvidence) return;
  throw new ReleaseError(
    "fresh_evidence_required",
    "this KMS wants fresh evidence: call GetChallenge and send a quote over the challenge with GetAppKey; " +
      "a guest image that does not must be updated, or the KMS run with require_fresh_evidence = false",
  );
}

/**
 * Decides whether an attested peer may have its app's keys. That its evidence passed the measurement and platform
 * policy is what makes it a VerifiedPeer.
 * @throws {ReleaseError} the rule that refuses
 */
export async function requireReleasable(
  policy: Omit<ReleasePolicy, "requireFreshEvidence">,
  peer: Pick<VerifiedPeer, "appId" | "upgradedAppId" | "caCertHash" | "systemReady">,
): Promise<void> {
  if (peer.systemReady) {
    // E5: containers run now, and one of them could have obtained this quote over a key of its own.
    throw new ReleaseError("system_ready", "keys are released before system-ready only; restart the VM");
  }
  if (peer.caCertHash !== policy.caCertHash) {
    // The guest measured another CA: it, or who answers it, takes somebody else for the KMS.
    throw new ReleaseError("foreign_ca", "the guest was started with the CA certificate of another KMS", {
      measured: peer.caCertHash,
      ours: policy.caCertHash,
    });
  }
  if (peer.appId === peer.upgradedAppId || policy.allowAnyUpgrade) return;
  if (await policy.upgrades.isAllowed(peer.appId, peer.upgradedAppId)) return;
  throw new ReleaseError(
    "upgrade_not_allowed",
    `upgrade of app ${peer.appId} to ${peer.upgradedAppId} is not allowed; ` +
      `run: kms-allow-upgrade.sh ${peer.appId} ${peer.upgradedAppId}`,
  );
}
