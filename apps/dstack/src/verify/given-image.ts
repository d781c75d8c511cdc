import {
  EvidenceError,
  allowedImage,
  computeMeasurements,
  info,
  notChecked,
  parseEventLog,
  skipped,
} from "@dstack/attestation";
import type {
  AllowedImage,
  AnchorKind,
  CheckNode,
  ComputedMeasurements,
  Launch,
  Missing,
} from "@dstack/attestation";
import { InputError } from "@dstack/core";
import { measureImage, readLaunch } from "@dstack/tdx-attest";
import { basename, resolve } from "node:path";
import { CliError } from "../output.js";

/** The image of `--image`. What it measures depends on the kind of platform it runs on. */
export interface GivenImage {
  readonly name: string;
  readonly dir: string;
  /** As the simulated platform measures it. */
  readonly simulated: AllowedImage;
  /** Whatever ACPI tables the host has will do. */
  readonly anyAcpi: boolean;
}

/** What the registers of a quote are compared with, and what has to be told about it. */
export interface ImageComparison {
  /** Nothing when the image cannot run on such a platform. */
  readonly allowed: readonly AllowedImage[];
  readonly remarks: readonly CheckNode[];
}

/**
 * @throws {InputError} metadata that is not as it should be
 * @throws a system error for a missing file
 */
export async function readGivenImage(dir: string, anyAcpi = false): Promise<GivenImage> {
  const name = basename(resolve(dir));
  return { name, dir, simulated: allowedImage(name, await measureImage(dir)), anyAcpi };
}

/**
 * The registers this image has on a kind of platform.
 * @param eventLog of the VM in question, JSON array text. It need not be verified: registers computed with a log that is
 * not the quote's match no quote, and the log itself is replayed by who verifies.
 */
export async function compareWith(
  image: GivenImage,
  platform: AnchorKind,
  eventLog: string | Missing,
): Promise<ImageComparison> {
  if (platform === "simulated") return { allowed: [image.simulated], remarks: [] };
  try {
    return onHardware(image, await readLaunch(image.dir), eventLog);
  } catch (err) {
    if (!(err instanceof InputError)) throw err;
    return { allowed: [], remarks: [notChecked(`image ${image.name}`, err.message)] };
  }
}

/** An entry of `images.allowed`. @throws {CliError} registers that cannot be computed from what was given */
export function imageEntry(name: string, { mrtd, rtmr0, rtmr1, rtmr2 }: ComputedMeasurements): AllowedImage {
  if (rtmr1 === undefined) {
    throw new CliError("under QEMU before 10.0 RTMR1 depends on the VM's memory: give --memory or --log");
  }
  return { name, mrtd, rtmr0: rtmr0 === undefined ? "any" : [rtmr0], rtmr1, rtmr2 };
}

/** @throws {InputError} an image that cannot start a TD */
function onHardware(
  { name, anyAcpi }: GivenImage,
  launch: Launch,
  eventLog: string | Missing,
): ImageComparison {
  const alone = computeMeasurements(launch);
  const withLog = measureWithLog(launch, eventLog);
  const how =
    "its registers are computed for QEMU 10 or later and OVMF of edk2 up to 2025.02; for another host give what " +
    "`dstack measure --policy` prints";
  if ("missing" in withLog) {
    // MRTD, RTMR1 and RTMR2 can still refuse; without RTMR0 there is no verdict.
    const open = skipped(`RTMR0 of ${name}`, withLog.missing);
    return { allowed: [imageEntry(name, alone)], remarks: [info(`image ${name}`, how), open] };
  }
  const memory = `memory ${withLog.memoryMib} MiB, as the event log says`;
  return {
    allowed: [imageEntry(name, withLog)],
    remarks: [
      info(`image ${name}`, `${how}; ${memory}`),
      (anyAcpi ? notChecked : skipped)(
        "ACPI tables",
        "RTMR0 is compared with the ACPI digests of the event log: the host writes these tables, and the guest's " +
          "kernel runs their code. `dstack measure --log` on a VM you trust, with --policy, pins them",
      ),
    ],
  };
}

/** The registers with what the log tells, or why it does not tell RTMR0. */
function measureWithLog(launch: Launch, eventLog: string | Missing): ComputedMeasurements | Missing {
  if (typeof eventLog !== "string") return eventLog;
  try {
    const measured = computeMeasurements(launch, parseEventLog(eventLog));
    if (measured.rtmr0 !== undefined) return measured;
    return {
      missing:
        "the event log's list of memory is none that the image's firmware gets with a usual memory size; if the size " +
        "is unusual, give what `dstack measure --memory` prints as --policy",
    };
  } catch (err) {
    if (err instanceof InputError || err instanceof EvidenceError) return { missing: err.message };
    throw err;
  }
}
