import { checkRuntimeEvents, parseEventLog, parseQuote, replayEventLog } from "@dstack/attestation";
import { CodedError, hex, readRegularFile, sameBytes } from "@dstack/core";
import type { Command } from "commander";
import { type CliContext, openEventLog, optionsOf } from "../context.js";
import { readStdin } from "../input.js";
import { printJson } from "../output.js";

const MAX_LOG_BYTES = 1024 * 1024;
const MAX_QUOTE_BYTES = 64 * 1024;

/** The log does not explain the registers. */
export class ReplayError extends CodedError<"rtmr_mismatch"> {
  override name = "ReplayError";
}

/** `tdxctl replay`: from events to registers. */
export function registerReplay(program: Command, context: CliContext): void {
  program
    .command("replay")
    .summary("replay an event log and show or compare the registers")
    .description(
      "Computes the four RTMRs from an event log (JSON array) and checks the digest of every RTMR3 event.\n" +
        "The log is a file, `-` for standard input, or by default this machine's, which is compared with its registers.\n" +
        "With --quote, compares with the RTMRs of that quote. The quote's signatures are NOT verified here.",
    )
    .argument("[log]", "event log, `-` for standard input")
    .option("-q, --quote <file>", "quote to compare with")
    .action(async (path: string | undefined, _: unknown, command: Command) => {
      const options = optionsOf<{ quote?: string }>(command);
      let text: string;
      let expected: readonly Uint8Array[] | undefined;
      if (path === undefined) {
        const { provider, log } = await openEventLog(context, options);
        text = await log.eventLog();
        expected = await Promise.all(([0, 1, 2, 3] as const).map((index) => provider.readRtmr(index)));
      } else {
        const bytes = path === "-" ? readStdin(context, MAX_LOG_BYTES) : readRegularFile(path, MAX_LOG_BYTES);
        text = new TextDecoder().decode(await bytes);
      }
      if (options.quote !== undefined) {
        expected = parseQuote(await readRegularFile(options.quote, MAX_QUOTE_BYTES)).body.rtmr;
      }
      const events = parseEventLog(text);
      checkRuntimeEvents(events);
      const registers = replayEventLog(events);
      print(context, options.json === true, registers, expected);
      requireSame(registers, expected);
    });
}

function print(
  context: CliContext,
  json: boolean,
  registers: readonly Uint8Array[],
  expected: readonly Uint8Array[] | undefined,
): void {
  const matches = expected?.every((value, i) => sameBytes(value, registers[i] ?? new Uint8Array()));
  const named = Object.fromEntries(registers.map((value, i) => [`rtmr${i}`, hex(value)]));
  if (json) printJson(context, { ...named, ...(matches === undefined ? {} : { matches }) });
  else {
    for (const [name, value] of Object.entries(named)) context.print(`${name} ${value}\n`);
    if (matches === true) context.print("the log explains all four registers\n");
  }
}

function requireSame(registers: readonly Uint8Array[], expected: readonly Uint8Array[] | undefined): void {
  expected?.forEach((value, i) => {
    const replayed = registers[i] ?? new Uint8Array();
    if (sameBytes(value, replayed)) return;
    throw new ReplayError("rtmr_mismatch", `the log does not explain RTMR${i}: expected ${hex(value)}`);
  });
}
