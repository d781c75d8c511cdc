import type { EventLogEntry } from "@dstack/attestation";
import { CodedError } from "@dstack/core";

/** Runtime measurement registers, by their number. */
export type RtmrIndex = 0 | 1 | 2 | 3;

/** What a trusted guest asks of its platform. One implementation drives hardware, the others imitate it. */
export interface QuoteProvider {
  readonly kind: "tdx" | "simulated";
  /**
   * A quote of this TD.
   * @param reportData 64 bytes; the returned quote has been checked to carry them
   */
  getQuote(reportData: Uint8Array, signal?: AbortSignal): Promise<Uint8Array>;
  /** The present value of a register, 48 bytes. */
  readRtmr(index: RtmrIndex): Promise<Uint8Array>;
  /**
   * Extends RTMR3: new = SHA-384(old ‖ digest). The others hold what firmware and kernel measured.
   * @param digest 48 bytes
   */
  extendRtmr(index: 3, digest: Uint8Array): Promise<void>;
  /** The TDREPORT, 1024 bytes. */
  getReport(reportData: Uint8Array): Promise<Uint8Array>;
  /** What firmware and kernel measured into registers 0-2, oldest first. */
  bootEvents(): Promise<EventLogEntry[]>;
}

export type DeviceErrorCode =
  | "no_device"
  | "permission"
  | "retryable"
  | "bad_argument"
  | "unsupported"
  | "device_failure"
  | "quote_failed"
  | "rtmr_mismatch";

/** A TDX device, or what stands in for it, could not do what was asked. */
export class DeviceError extends CodedError<DeviceErrorCode> {
  override name = "DeviceError";
}
