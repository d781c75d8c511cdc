import type { Collateral, CollateralKeys } from "@dstack/attestation";
import { CodedError } from "@dstack/core";

/** Anything that gives collateral: a service, a bundle on disk, a test. */
export interface CollateralSource {
  /**
   * @param now Unix seconds
   * @param signal ends the caller's wait, not what others wait for
   */
  get(keys: CollateralKeys, now: number, signal?: AbortSignal): Promise<Collateral>;
}

/**
 * Why there is no collateral:
 * - `unreachable`: the service does not answer, or not with a document
 * - `unknown_platform`: the service knows no such FMSPC
 * - `malformed`: what it answers is not collateral, or nobody trusted has signed it
 * - `expired`: it is not in date, or older than the configured age
 * - `rollback`: it is older than what was seen before
 * - `busy`: too many platforms are being fetched
 */
export type CollateralErrorCode =
  "unreachable" | "unknown_platform" | "malformed" | "expired" | "rollback" | "busy";

/** Collateral could not be had, and no cached one is still valid (E8). */
export class CollateralError extends CodedError<CollateralErrorCode> {
  override name = "CollateralError";
  readonly rpcCode = "unavailable";
}

/**
 * The name of a platform's collateral; it goes into URLs and file contents.
 * @throws {CollateralError} `malformed` the FMSPC is not 12 hex digits
 */
export function collateralName(keys: CollateralKeys): string {
  if (!/^[0-9a-f]{12}$/i.test(keys.fmspc))
    throw new CollateralError("malformed", "fmspc must be 12 hex digits");
  return `${keys.fmspc.toLowerCase()}-${keys.ca}`;
}
