import { CodedError } from "@dstack/core";

/** What was wrong with a quote or with the collateral it is judged by. */
export type QuoteErrorCode =
  | "input_invalid"
  | "quote_malformed"
  | "certificate_malformed"
  | "collateral_malformed"
  | "root_untrusted"
  | "chain_invalid"
  | "crl_invalid"
  | "certificate_revoked"
  | "not_in_date"
  | "signature_invalid"
  | "qe_mismatch"
  | "platform_mismatch"
  | "module_mismatch"
  | "tcb_unsupported"
  | "tcb_revoked";

/** A quote does not parse or does not verify. */
export class QuoteError extends CodedError<QuoteErrorCode> {
  override name = "QuoteError";
  readonly rpcCode = "permission_denied";
}

/** What was wrong with an event log or with its tie to a verified quote. */
export type EvidenceErrorCode =
  | "event_log_malformed"
  | "event_digest_mismatch"
  | "rtmr_mismatch"
  | "report_data_mismatch"
  | "identity_invalid";

/** An event log does not parse, is not the one the quote speaks of, or names no identity. */
export class EvidenceError extends CodedError<EvidenceErrorCode> {
  override name = "EvidenceError";
  readonly rpcCode = "permission_denied";
}

/** Which rule of the policy refused. */
export type PolicyErrorCode =
  | "policy_unusable"
  | "simulated_refused"
  | "tcb_status_refused"
  | "advisory_refused"
  | "collateral_too_old"
  | "platform_denied"
  | "td_attributes_refused"
  | "seam_refused"
  | "measurement_refused";

/** Verified evidence is not good enough, or a policy cannot be used at all (`policy_unusable`). */
export class PolicyError extends CodedError<PolicyErrorCode> {
  override name = "PolicyError";
  readonly rpcCode = "permission_denied";
}
