import type { CheckNode, Missing } from "@dstack/attestation";
import type { AppId } from "@dstack/core";

/** Evidence as somebody presented it. Nothing of it is verified but what its own checks say. */
export interface Presented {
  /** For the verdict's sentence: "quote verified". */
  readonly subject: "quote" | "certificate" | "endpoint";
  /** What was checked in getting it: TLS, the certificate's form. */
  readonly checks: readonly CheckNode[];
  readonly quote: Uint8Array | Missing;
  /** JSON array text. */
  readonly eventLog: string | Missing;
  /** The 64 bytes the quote must be over. */
  readonly reportData: Uint8Array | Missing;
  /** 40 hex digits in the name of the host that was asked: the app or the instance it must be. */
  readonly hostId?: string;
  /** The app that the certificate itself says it is for, which is nobody's word but its issuer's. */
  readonly certificateAppId?: AppId;
  /** The quote is the app's own answer, so that the guest must have finished its start-up. */
  readonly fromApp: boolean;
}

/** What was looked at carries no evidence at all. */
export function withoutEvidence(
  subject: Presented["subject"],
  checks: readonly CheckNode[],
  missing: string,
): Presented {
  const nothing: Missing = { missing };
  return { subject, checks, quote: nothing, eventLog: nothing, reportData: nothing, fromApp: false };
}
