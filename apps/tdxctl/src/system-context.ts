import { openQuoteProvider } from "@dstack/tdx-attest";
import type { CliContext } from "./context.js";

/** This process and this machine. */
export const systemContext: CliContext = {
  stdin: process.stdin,
  outputIsTerminal: process.stdout.isTTY,
  print: (output) => void process.stdout.write(output),
  printError: (text) => void process.stderr.write(text),
  openProvider: ({ simulatorSocket }) => openQuoteProvider({ simulatorSocket }),
};
