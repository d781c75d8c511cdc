import { MAX_OBSERVED_BYTES, measurementLines, parseObserved } from "@dstack/attestation";
import type { EventLogEntry } from "@dstack/attestation";
import { InputError, readRegularFile } from "@dstack/core";
import { expectedMeasurements } from "@dstack/tdx-attest";
import type { Command } from "commander";
import { type CliContext, optionsOf } from "../context.js";
import { printJson } from "../output.js";

interface MeasureOptions {
  memory?: string;
  qemu?: string;
  log?: string;
}

/** `tdxctl measure`: from an image and the shape of a VM to the registers. */
export function registerMeasure(program: Command, context: CliContext): void {
  program
    .command("measure")
    .summary("compute what a TD of an image measures")
    .description(
      "Computes MRTD and RTMR0-2 of a TD on Intel hardware from an image's firmware, kernel, initial RAM disk and\n" +
        "command line. The host's ACPI tables are not known: RTMR0 needs a log of such a TD, out of which their digests\n" +
        "are taken, and says nothing about them.",
    )
    .argument("<image>", "directory of the guest image")
    .option("-m, --memory <MiB>", "the VM's memory (default: what the log says)")
    .option("--qemu <version>", "version of the host's QEMU (default: 10.1)")
    .option("--log <file>", "event log as JSON or CCEL, or a quote with its log as JSON")
    .addHelpText("after", "\nExample:\n  tdxctl measure images/out/dstack-0.1.0 --memory 2048")
    .action(async (image: string, _: unknown, command: Command) => {
      const { memory, qemu, log, json } = optionsOf<MeasureOptions>(command);
      const shape = { memoryMib: memory === undefined ? undefined : memoryMib(memory), qemu };
      const measured = await expectedMeasurements(
        image,
        shape,
        log === undefined ? undefined : await readLog(log),
      );
      if (json === true) printJson(context, measured);
      else for (const line of measurementLines(measured)) context.print(`${line}\n`);
    });
}

async function readLog(path: string): Promise<readonly EventLogEntry[]> {
  return parseObserved(await readRegularFile(path, MAX_OBSERVED_BYTES)).log;
}

function memoryMib(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new InputError("--memory must be a whole number of MiB");
  return Number(text);
}
