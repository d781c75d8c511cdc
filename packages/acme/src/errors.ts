import { CodedError } from "@dstack/core";

/**
 * A certificate authority did not do what it was asked.
 * - `unreachable`, `unavailable`: no answer, or one of its own trouble (5xx)
 * - `rate_limited`: not before `retryAt`
 * - `refused`: it said no; `details.type` is the problem of RFC 8555 §6.7
 * - `account`: the account is unknown, deactivated or of another CA
 */
export class CaError extends CodedError<
  "unreachable" | "unavailable" | "rate_limited" | "refused" | "account"
> {
  override name = "CaError";

  /** When the CA said to come back, if it did. */
  get retryAt(): Date | undefined {
    return this.details["retryAt"] instanceof Date ? this.details["retryAt"] : undefined;
  }
}

/**
 * DNS records could not be read, written or seen.
 * - `denied`: the provider does not accept our credentials, or not for this zone
 * - `not_propagated`: written, but an authoritative server did not show it within the limit
 */
export class DnsError extends CodedError<
  "zone_not_found" | "denied" | "rate_limited" | "unreachable" | "refused" | "not_propagated"
> {
  override name = "DnsError";
}

/** What the work directory holds cannot be used. The message says what to do. */
export class StoreError extends CodedError<"corrupt" | "lost_account" | "foreign" | "locked"> {
  override name = "StoreError";
}

/**
 * Other machines that keep certificates for the same names are in the way.
 * - `unavailable`: they cannot be heard, so that nobody knows whether one of them is at work
 * - `busy`: one of them has been at work for too long
 * - `lost`: in the middle of our work they could no longer be heard
 * - `another_account`: they order with another account than ours
 */
export class ClusterError extends CodedError<"unavailable" | "busy" | "lost" | "another_account"> {
  override name = "ClusterError";
}

/** A certificate that must not be installed: not ours, not for these names, or not valid. */
export class CertificateError extends CodedError<"wrong_key" | "wrong_names" | "expired" | "unreadable"> {
  override name = "CertificateError";
}
