import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import type { PeerVerifier, VerifiedPeer } from "@dstack/ra-tls";
import type { KmsContext } from "../context.js";

type GetMeta = (typeof kms.KMS)["method"]["getMeta"];

/**
 * `KMS.GetMeta`: the root's public half and the policy. What weakens it is named as loudly as what it allows.
 */
export const getMeta =
  (context: KmsContext): Handler<GetMeta["input"], GetMeta["output"], VerifiedPeer> =>
  async () => ({
    caCert: context.root.ca.certPem,
    allowedMrs: describePolicy(context.verifier, context.release.allowAnyUpgrade),
    rootPubkey: context.root.ca.publicKeySpki,
  });

/** One line for each measurement that is accepted, and for each thing that makes the policy insecure. */
export function describePolicy(
  verifier: Pick<PeerVerifier, "policy" | "simulatedRoots">,
  allowAnyUpgrade: boolean,
): string[] {
  const { allowed_mr: allowed, allowed_status: statuses } = verifier.policy;
  const measurements = allowed.allow_all
    ? ["allow_all"]
    : (["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const).flatMap((name) =>
        allowed[name].map((value) => `${name} ${value}`),
      );
  return [
    ...verifier.simulatedRoots.map((sha256) => `insecure_simulated_root ${sha256}`),
    ...(allowAnyUpgrade ? ["allow_any_upgrade"] : []),
    ...measurements,
    ...statuses.map((status) => `tcb_status ${status}`),
  ];
}
