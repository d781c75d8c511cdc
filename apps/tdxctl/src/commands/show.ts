import { hex } from "@dstack/core";
import type { Command } from "commander";
import { type CliContext, optionsOf } from "../context.js";
import { REPORT_DATA_BYTES } from "../input.js";
import { printJson } from "../output.js";

/** TDINFO_STRUCT in a TDREPORT, from byte 512 on (Intel TDX module ABI): name and length. */
const TD_INFO_OFFSET = 512;
const TD_INFO = [
  ["attributes", 8],
  ["xfam", 8],
  ["mrtd", 48],
  ["mrconfigid", 48],
  ["mrowner", 48],
  ["mrownerconfig", 48],
  ["rtmr0", 48],
  ["rtmr1", 48],
  ["rtmr2", 48],
  ["rtmr3", 48],
  ["servtd_hash", 48],
] as const;

/** The fields of TDINFO as hex, in their order. */
export function tdInfo(report: Uint8Array): Record<string, string> {
  let offset = TD_INFO_OFFSET;
  const fields: Record<string, string> = {};
  for (const [name, length] of TD_INFO) {
    fields[name] = hex(report.subarray(offset, offset + length));
    offset += length;
  }
  return fields;
}

/** `tdxctl show`: the measurements of this TD. */
export function registerShow(program: Command, context: CliContext): void {
  program
    .command("show")
    .summary("show the measurements of this TD")
    .description("Shows attributes, MRTD and the four RTMRs as they are now, in hex.")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf(command);
      const provider = await context.openProvider(options);
      const fields = {
        platform: provider.kind,
        ...tdInfo(await provider.getReport(new Uint8Array(REPORT_DATA_BYTES))),
      };
      if (options.json === true) printJson(context, fields);
      else {
        for (const [name, value] of Object.entries(fields)) context.print(`${name.padEnd(14)} ${value}\n`);
      }
    });
}
