import { type QuoteProvider, RuntimeEventLog } from "@dstack/tdx-attest";
import type { Command } from "commander";

/** Options that every command takes. */
export interface GlobalOptions {
  json?: boolean;
  simulatorSocket?: string;
  eventLog?: string;
}

/** What commands touch besides files: tests give their own. */
export interface CliContext {
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Standard output is a terminal, on which bytes are no use. */
  readonly outputIsTerminal: boolean;
  print(output: string | Uint8Array): void;
  printError(text: string): void;
  openProvider(options: { simulatorSocket?: string | undefined }): Promise<QuoteProvider>;
}

/** A command's own options with the global ones. */
export function optionsOf<T extends object>(command: Command): T & GlobalOptions {
  return command.optsWithGlobals<T & GlobalOptions>();
}

/** The log that `--event-log` names, over this machine's platform. */
export async function openEventLog(
  context: CliContext,
  options: GlobalOptions,
): Promise<{ provider: QuoteProvider; log: RuntimeEventLog }> {
  const provider = await context.openProvider(options);
  return { provider, log: await RuntimeEventLog.open({ provider, path: options.eventLog }) };
}
