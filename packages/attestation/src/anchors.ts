import { hex, sha256 } from "@dstack/core";
import { QuoteError } from "./errors.js";
import { decodePem } from "./pem.js";

export type AnchorKind = "intel" | "simulated";

/** A root certificate we trust, by the SHA-256 of its DER in lower-case hex. */
export interface TrustAnchor {
  readonly kind: AnchorKind;
  readonly sha256: string;
}

/** The Intel SGX Root CA (valid 2018-05-21 to 2049-12-31), the only root that speaks for hardware. */
export const INTEL_ROOT: TrustAnchor = {
  kind: "intel",
  sha256: "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
};

/**
 * The anchor of a simulated platform: for tests and demonstrations, only when a configuration names it.
 * @param rootPem PEM text holding exactly the root certificate
 * @throws {QuoteError} `certificate_malformed`
 */
export function simulatedAnchor(rootPem: string): TrustAnchor {
  const [root] = decodePem(rootPem, 1, "simulated root");
  return { kind: "simulated", sha256: hex(sha256(root)) };
}

/**
 * The anchor that is this very root certificate.
 * @throws {QuoteError} `root_untrusted`
 */
export function findAnchor(rootDer: Uint8Array, anchors: readonly TrustAnchor[]): TrustAnchor {
  const digest = hex(sha256(rootDer));
  const anchor = anchors.find((candidate) => candidate.sha256 === digest);
  if (anchor === undefined) {
    throw new QuoteError("root_untrusted", "the root certificate is not one of the trusted roots", {
      rootSha256: digest,
    });
  }
  // Whoever reads the result relies on the kind: no list of anchors may call another root Intel's, nor Intel's simulated.
  if ((anchor.kind === "intel") !== (digest === INTEL_ROOT.sha256)) {
    throw new QuoteError("input_invalid", `a trust anchor calls a root "${anchor.kind}" that is not`);
  }
  return anchor;
}
