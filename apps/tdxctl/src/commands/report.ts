import { hex } from "@dstack/core";
import type { Command } from "commander";
import { type CliContext, optionsOf } from "../context.js";
import { readReportData } from "../input.js";
import { type BytesOutput, printJson, writeBytes } from "../output.js";

/** `tdxctl report`: the TDREPORT. */
export function registerReport(program: Command, context: CliContext): void {
  program
    .command("report")
    .summary("get a TDREPORT over report data")
    .description(
      "Writes the 1024 bytes of a TDREPORT. Report data is the 64 bytes on standard input, or --report-data.\n" +
        "A TDREPORT can only be checked on the machine that made it: for others, see `tdxctl quote`.",
    )
    .option("-d, --report-data <hex>", "64 bytes, instead of standard input")
    .option("-o, --output <file>", "write to a file")
    .option("-x, --hex", "write as hex")
    .addHelpText("after", "\nExample:\n  head -c 64 /dev/urandom | tdxctl report | tdxctl hex")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<BytesOutput & { reportData?: string }>(command);
      const reportData = await readReportData(context, options.reportData);
      const provider = await context.openProvider(options);
      const report = await provider.getReport(reportData);
      if (options.json === true) {
        printJson(context, { platform: provider.kind, report_data: hex(reportData), report: hex(report) });
      } else await writeBytes(context, report, options);
    });
}
