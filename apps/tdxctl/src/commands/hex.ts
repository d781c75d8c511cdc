import { hex } from "@dstack/core";
import { createReadStream } from "node:fs";
import type { Command } from "commander";
import { type CliContext, optionsOf } from "../context.js";
import { printJson } from "../output.js";

/** `tdxctl hex`: bytes as hex. */
export function registerHex(program: Command, context: CliContext): void {
  program
    .command("hex")
    .summary("write a file, or standard input, as hex")
    .argument("[file]", "default: standard input")
    .addHelpText("after", "\nExample:\n  sha384sum -b kernel | head -c 96; tdxctl rand | tdxctl hex")
    .action(async (file: string | undefined, _: unknown, command: Command) => {
      const input: AsyncIterable<Uint8Array> = file === undefined ? context.stdin : createReadStream(file);
      const { json } = optionsOf(command);
      let text = "";
      for await (const chunk of input) {
        if (json === true) text += hex(chunk);
        else context.print(hex(chunk));
      }
      if (json === true) printJson(context, { hex: text });
      else context.print("\n");
    });
}
