import { InputError } from "@dstack/core";
import type { RtmrIndex } from "./quote-provider.js";

export const REPORT_DATA_BYTES = 64;
/** TDREPORT_STRUCT. */
export const TD_REPORT_BYTES = 1024;
/** Length of SHA-384, and so of every register and event digest. */
export const RTMR_BYTES = 48;

/** @throws {InputError} */
export function requireLength(bytes: Uint8Array, length: number, what: string): void {
  if (bytes.length !== length) throw new InputError(`${what} must be ${length} bytes, got ${bytes.length}`);
}

/** @throws {InputError} */
export function requireRtmrIndex(index: number): RtmrIndex {
  if (index === 0 || index === 1 || index === 2 || index === 3) return index;
  throw new InputError(`there is no RTMR ${index}: they are numbered 0 to 3`);
}

/** Firmware and kernel fill 0 to 2; an extend of ours would only spoil what the image stands for. @throws {InputError} */
export function requireExtendable(index: number): 3 {
  if (index === 3) return index;
  throw new InputError(
    `only RTMR 3 can be extended, not ${index}: the others are the firmware's and the kernel's`,
  );
}
