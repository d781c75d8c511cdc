import { InputError } from "@dstack/core";
import { MAX_HEADER_BYTES } from "./luks2-header.js";

/** How much of a disk is looked at to call it blank: every byte a header, a partition table or a file system has. */
export const BLANK_CHECK_BYTES = MAX_HEADER_BYTES;

export type DiskPlan = "format" | "open";

/**
 * What to do with the data disk (G3): only a blank disk of an instance that never had one is formatted.
 * @param head the first {@link BLANK_CHECK_BYTES} of the disk
 * @throws {InputError} a blank disk of an instance that had data
 */
export function planDisk(head: Uint8Array, bootstrapped: boolean): DiskPlan {
  if (!isBlank(head)) return "open";
  if (bootstrapped) {
    throw new InputError(
      "the data disk is blank, but this instance has had data before: it is not formatted again. " +
        "Give it its disk back, or create a new instance",
    );
  }
  return "format";
}

function isBlank(bytes: Uint8Array): boolean {
  // A comparison of whole buffers runs at memory speed; a loop over 16 MiB takes seconds under emulation.
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const zeros = Buffer.alloc(Math.min(buffer.length, 64 * 1024));
  for (let at = 0; at < buffer.length; at += zeros.length) {
    const part = buffer.subarray(at, at + zeros.length);
    if (!part.equals(zeros.subarray(0, part.length))) return false;
  }
  return true;
}
