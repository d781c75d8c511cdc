import { InputError, fromHex } from "@dstack/core";
import type { Command } from "commander";
import { type CliContext, openEventLog, optionsOf } from "../context.js";
import { printJson } from "../output.js";

/** `tdxctl extend`: an event into RTMR3 and its log. */
export function registerExtend(program: Command, context: CliContext): void {
  program
    .command("extend")
    .summary("extend RTMR3 by an event and log it")
    .description(
      "Extends RTMR3 by SHA-384(type, name, payload), reads the register back, and appends the event to the log.\n" +
        "It cannot be undone. When register and log disagree, nothing is logged and the command fails.",
    )
    .requiredOption("-e, --event <name>", "name of the event: at most 128 bytes, no colon")
    .option("-p, --payload <hex>", "payload of the event", "")
    .option("-i, --index <number>", "register; only 3 has a log", "3")
    .addHelpText(
      "after",
      "\nExample:\n  tdxctl extend --event my-config --payload $(sha256sum config | cut -d' ' -f1)",
    )
    .action(async (_: unknown, command: Command) => {
      const options = optionsOf<{ event: string; payload: string; index: string }>(command);
      if (options.index !== "3")
        throw new InputError(`only RTMR 3 can be extended here, not ${options.index}`);
      const payload = fromHex(options.payload, "--payload");
      const { log } = await openEventLog(context, options);
      const entry = await log.extend(options.event, payload);
      if (options.json === true) printJson(context, entry);
      else context.print(`RTMR3 extended by ${entry.event}: ${entry.digest}\n`);
    });
}
