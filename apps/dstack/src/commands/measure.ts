import {
  MAX_OBSERVED_BYTES,
  computeMeasurements,
  differenceLines,
  explainMeasurements,
  measurementLines,
  parseObserved,
} from "@dstack/attestation";
import type { AllowedImage, Observed } from "@dstack/attestation";
import { InputError, errorMessage } from "@dstack/core";
import { readLaunch } from "@dstack/tdx-attest";
import type { Command } from "commander";
import { basename, resolve } from "node:path";
import { stringify } from "smol-toml";
import { CliError, printResult } from "../output.js";
import type { GlobalOptions } from "../output.js";
import { readFileBytes } from "../read-file.js";
import { imageEntry } from "../verify/given-image.js";
import { wholeNumber } from "./options.js";

interface MeasureOptions extends GlobalOptions {
  memory?: number;
  qemu?: string;
  log?: string;
  explain?: string;
  policy?: true;
}

/** `dstack measure`: what an image measures on hardware; why a VM measured something else; a policy entry. */
export function registerMeasure(program: Command): void {
  program
    .command("measure")
    .description(
      "compute what a VM of an image measures on Intel TDX, and explain why one measured something else",
    )
    .argument("<image>", "directory of the guest image")
    .option("-m, --memory <MiB>", "the VM's memory (default: what the log says)", wholeNumber(1, 1024 * 1024))
    .option("--qemu <version>", "version of the host's QEMU (default: 10.1)")
    .option("--log <file>", "take the ACPI digests out of this log: JSON, CCEL, or a quote with its log")
    .option("--explain <file>", "compare with this log, or quote with log, and explain the first difference")
    .option("--policy", "print the image as an entry of images.allowed, for KMS and tproxy")
    .addHelpText(
      "after",
      "\nExit codes: 0 computed, or no difference; 1 a difference; 2 image, quote or log could not be read. Quote and log\n" +
        "are read, not verified: `dstack verify` does that.",
    )
    .action(async (image: string, _: unknown, command: Command) => {
      try {
        await measure(image, command.optsWithGlobals<MeasureOptions>());
      } catch (err) {
        // 1 is for a difference.
        throw new CliError(errorMessage(err), 2, { cause: err });
      }
    });
}

async function measure(image: string, options: MeasureOptions): Promise<void> {
  const launch = await readLaunch(image, { memoryMib: options.memory, qemu: options.qemu });
  if (options.explain !== undefined) {
    const compared = explainMeasurements(launch, await readObserved(options.explain));
    const { difference, computed } = compared;
    printResult(options, compared, () =>
      difference === undefined
        ? [...(computed === undefined ? [] : measurementLines(computed)), "no difference"].join("\n")
        : differenceLines(difference).join("\n"),
    );
    if (difference !== undefined) process.exitCode = 1;
    return;
  }
  const log = options.log === undefined ? undefined : (await readObserved(options.log)).log;
  const measured = computeMeasurements(launch, log);
  if (options.policy === true) {
    const entry = imageEntry(basename(resolve(image)), measured);
    printResult(options, entry, () => policyText(entry));
  } else printResult(options, measured, () => measurementLines(measured).join("\n"));
}

async function readObserved(path: string): Promise<Observed> {
  const bytes = await readFileBytes(path, MAX_OBSERVED_BYTES);
  try {
    return parseObserved(bytes);
  } catch (err) {
    throw new InputError(
      `${path} is no event log (JSON or CCEL), and no quote with its log: ${errorMessage(err)}`,
      { cause: err },
    );
  }
}

function policyText(entry: AllowedImage): string {
  const note =
    entry.rtmr0 === "any"
      ? "# rtmr0 depends on the VM's shape and the host's ACPI tables: give --log <log of such a VM> to pin it"
      : "# rtmr0 holds for this shape; the ACPI tables are those of the log, so take it from a host you trust";
  return `${note}\n${stringify({ attestation: { images: { allowed: [entry] } } })}`.trimEnd();
}
