import { randomBytes } from "node:crypto";
import { InputError, hex } from "@dstack/core";
import type { Command } from "commander";
import { type CliContext, optionsOf } from "../context.js";
import { type BytesOutput, printJson, writeBytes } from "../output.js";

/** Nobody needs more at a time, and it has to fit in memory. */
const MAX_RANDOM_BYTES = 1024 * 1024;

/** `tdxctl rand`: random bytes. */
export function registerRand(program: Command, context: CliContext): void {
  program
    .command("rand")
    .summary("write random bytes")
    .option("-n, --bytes <number>", "how many, at most 1 MiB", "20")
    .option("-o, --output <file>", "write to a file, mode 0600")
    .option("-x, --hex", "write as hex")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<BytesOutput & { bytes: string }>(command);
      const count = Number(options.bytes);
      if (!/^\d+$/.test(options.bytes) || count > MAX_RANDOM_BYTES) {
        throw new InputError(`--bytes must be a number from 0 to ${MAX_RANDOM_BYTES}`);
      }
      const bytes = new Uint8Array(randomBytes(count));
      if (options.json === true) printJson(context, { bytes: hex(bytes) });
      else await writeBytes(context, bytes, options);
    });
}
