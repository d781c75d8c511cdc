import {
  computeMeasurements,
  qemuBehaviour,
  MAX_FIRMWARE_BYTES,
  MAX_KERNEL_BYTES,
} from "@dstack/attestation";
import type { ComputedMeasurements, EventLogEntry, Launch } from "@dstack/attestation";
import { InputError, readRegularFile } from "@dstack/core";
import { join } from "node:path";
import { readImageMetadata } from "./image-metadata.js";

const MAX_INITRD_BYTES = 512 * 1024 * 1024;
/** The first QEMU with TDX in mainline. */
const FIRST_QEMU_WITH_TDX = "10.1";

/** How a VM of an image is started on TDX, as far as its measurements depend on it. */
export interface TdxShape {
  /** Memory in MiB; when it is left out, the one that the log's first event fits is taken. */
  readonly memoryMib?: number | undefined;
  /** Version of the host's QEMU. @default "10.1" */
  readonly qemu?: string | undefined;
}

/**
 * What a TD of this guest image starts, from the image's files.
 * @param imageDir directory with `metadata.json` and the files it names
 * @throws {InputError} an image that cannot start a TD
 * @throws a system error for a missing file
 */
export async function readLaunch(imageDir: string, shape: TdxShape = {}): Promise<Launch> {
  const host = qemuBehaviour(shape.qemu ?? FIRST_QEMU_WITH_TDX);
  const { kernel, initrd, bios, cmdline } = await readImageMetadata(imageDir);
  if (bios === undefined)
    throw new InputError(`${imageDir}: metadata.json names no bios, so it cannot start a TD`);
  const read = (name: string, maxBytes: number): Promise<Uint8Array> =>
    readRegularFile(join(imageDir, name), maxBytes);
  return {
    firmware: await read(bios, MAX_FIRMWARE_BYTES),
    kernel: await read(kernel, MAX_KERNEL_BYTES),
    initrd: await read(initrd, MAX_INITRD_BYTES),
    cmdline,
    memoryMib: shape.memoryMib,
    host,
  };
}

/**
 * MRTD and RTMR0-2 that a TD of this guest image has on Intel hardware.
 * @param log events of the TD in question, from which the ACPI digests (and the memory, if the shape does not say) are
 * taken: then `rtmr0` proves nothing about these
 * @throws {InputError} an image that cannot start a TD, or a log of another kind of start
 * @throws a system error for a missing file
 */
export async function expectedMeasurements(
  imageDir: string,
  shape: TdxShape = {},
  log?: readonly EventLogEntry[],
): Promise<ComputedMeasurements> {
  return computeMeasurements(await readLaunch(imageDir, shape), log);
}
