import { hex } from "@dstack/core";
import type { Command } from "commander";
import { type CliContext, openEventLog, optionsOf } from "../context.js";
import { readReportData } from "../input.js";
import { type BytesOutput, printJson, writeBytes } from "../output.js";

/** `tdxctl quote`: a quote, which anybody can verify. */
export function registerQuote(program: Command, context: CliContext): void {
  program
    .command("quote")
    .summary("get a quote over report data")
    .description(
      "Writes a TDX quote. Report data is the 64 bytes on standard input, or --report-data, and is used as it is.\n" +
        "With --json, the event log that belongs to the quote comes with it.",
    )
    .option("-d, --report-data <hex>", "64 bytes, instead of standard input")
    .option("-o, --output <file>", "write to a file")
    .option("-x, --hex", "write as hex")
    .addHelpText("after", "\nExample:\n  printf '%064d' 0 | tdxctl quote -o quote.bin")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<BytesOutput & { reportData?: string }>(command);
      const reportData = await readReportData(context, options.reportData);
      if (options.json === true) {
        const { provider, log } = await openEventLog(context, options);
        const { quote, eventLog } = await log.quote(reportData);
        const value = { platform: provider.kind, report_data: hex(reportData), quote: hex(quote) };
        printJson(context, { ...value, event_log: JSON.parse(eventLog) as unknown });
        return;
      }
      const provider = await context.openProvider(options);
      await writeBytes(context, await provider.getQuote(reportData), options);
    });
}
