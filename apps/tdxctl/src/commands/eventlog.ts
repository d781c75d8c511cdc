import type { EventLogEntry } from "@dstack/attestation";
import type { Command } from "commander";
import { type CliContext, openEventLog, optionsOf } from "../context.js";
import { printJson } from "../output.js";

/** One event for people: register, name, payload; names come from apps, so control characters do not get through. */
function line(entry: EventLogEntry): string {
  const name = entry.event === "" ? `(type 0x${entry.event_type.toString(16)})` : entry.event;
  const text = name.replaceAll(/\p{Cc}/gu, "?");
  return `RTMR${entry.imr}  ${text.padEnd(40)} ${entry.event_payload || entry.digest}`;
}

/** `tdxctl eventlog`: what was measured into the registers. */
export function registerEventlog(program: Command, context: CliContext): void {
  program
    .command("eventlog")
    .summary("show the event log")
    .description(
      "Shows what firmware, kernel and dstack measured into the RTMRs, oldest first; --json gives the form that\n" +
        "certificates carry and `tdxctl replay` reads.",
    )
    .option("-r, --runtime", "only the events of RTMR3")
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<{ runtime?: boolean }>(command);
      const { provider, log } = await openEventLog(context, options);
      const runtime = await log.entries();
      const entries = options.runtime === true ? runtime : [...(await provider.bootEvents()), ...runtime];
      if (options.json === true) printJson(context, entries);
      else for (const entry of entries) context.print(`${line(entry)}\n`);
    });
}
