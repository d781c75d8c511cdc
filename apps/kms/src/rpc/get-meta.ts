import type { AllowedImage, Policy } from "@dstack/attestation";
import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import type { PeerVerifier, VerifiedPeer } from "@dstack/ra-tls";
import type { KmsContext } from "../context.js";
import type { ReleasePolicy } from "../policy/key-release.js";

type GetMeta = (typeof kms.KMS)["method"]["getMeta"];

/**
 * `KMS.GetMeta`: the root's public half and the policy. What weakens it is named as loudly as what it allows.
 */
export const getMeta =
  (context: KmsContext): Handler<GetMeta["input"], GetMeta["output"], VerifiedPeer> =>
  async () => ({
    caCert: context.root.ca.certPem,
    allowedMrs: describePolicy(context.verifier, context.release),
    rootPubkey: context.root.ca.publicKeySpki,
  });

/** One line for each image that is accepted, and for each thing that makes the policy insecure. */
export function describePolicy(
  verifier: Pick<PeerVerifier, "policy" | "simulatedRoots">,
  release: Pick<ReleasePolicy, "allowAnyUpgrade" | "requireFreshEvidence">,
): string[] {
  const { images, allowed_status: statuses } = verifier.policy;
  return [
    ...verifier.simulatedRoots.map((sha256) => `insecure_simulated_root ${sha256}`),
    ...(release.allowAnyUpgrade ? ["allow_any_upgrade"] : []),
    release.requireFreshEvidence ? "fresh_evidence required" : "fresh_evidence optional",
    ...(images.allow_all ? ["allow_all"] : images.allowed.map(describeImage)),
    ...statuses.map((status) => `tcb_status ${status}`),
    ...describeExceptions(verifier.policy),
  ];
}

/** What passes here though the default policy refuses it. */
function describeExceptions({ grace_days, allowed_advisories, td }: Policy): string[] {
  const attributes = new Set([...td.allowed_attributes, ...td.required_attributes]);
  const exposing = (["MIGRATABLE", "PERFMON"] as const).filter((name) => attributes.has(name));
  return [
    ...Object.entries(grace_days).map(([status, days]) => `tcb_grace ${status} ${days} days`),
    ...allowed_advisories.map((advisory) => `advisory ${advisory}`),
    ...exposing.map((name) => `td_attribute ${name}`),
    ...(td.required_attributes.includes("SEPT_VE_DISABLE") ? [] : ["sept_ve_disable optional"]),
  ];
}

function describeImage({ name, mrtd, rtmr0, rtmr1, rtmr2 }: AllowedImage): string {
  const shapes = rtmr0 === "any" ? rtmr0 : rtmr0.join(",");
  return `image ${JSON.stringify(name)} mrtd ${mrtd} rtmr0 ${shapes} rtmr1 ${rtmr1} rtmr2 ${rtmr2}`;
}
