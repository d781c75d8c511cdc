import type { Command } from "commander";
import { followLogs } from "../follow-logs.js";
import type { LogChunks } from "../follow-logs.js";
import { getFromTeepod } from "../http-get.js";
import { printable } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { interruptSignal, vmCommand, wholeNumber } from "./options.js";

interface LogsOptions extends TeepodOptions {
  follow?: boolean;
  lines?: number;
  since?: string;
}

const DEFAULT_LINES = 100;

/** `dstack logs` */
export function registerLogs(program: Command): void {
  vmCommand(program, "logs", "print a CVM's console")
    .option("-f, --follow", "go on as it grows")
    .option(
      "-n, --lines <n>",
      `how many of the last lines (default: ${DEFAULT_LINES}, with --since all)`,
      wholeNumber(1, 100_000),
    )
    .option("--since <time>", "only what was written since then: 90s, 10m, 1h30m, or a Unix time in seconds")
    .addHelpText(
      "after",
      '\nWith --json each line is {"line": "…"}. What containers write is in tappd\'s dashboard and logs.',
    )
    .action(async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<LogsOptions>();
      const address = await teepodAddress(options);
      const vm = await findVm(teepodClient(address), wanted);
      const lines = options.lines ?? (options.since === undefined ? DEFAULT_LINES : undefined);
      const query = new URLSearchParams({
        id: vm.id,
        ansi: "false",
        follow: String(options.follow === true),
        ...(lines !== undefined && { lines: String(lines) }),
        ...(options.since !== undefined && { since: options.since }),
      });
      const signal = interruptSignal();
      const writer = options.json === true ? writeLines : writeText;
      if (options.follow !== true) {
        await print(await getFromTeepod(address, `/logs?${query.toString()}`, signal), writer());
        return;
      }
      const say = (text: string): void => void process.stderr.write(`dstack: ${text}\n`);
      for await (const chunks of followLogs({ address, query, signal, say })) await print(chunks, writer());
    });
}

async function print(chunks: LogChunks, write: Writer): Promise<void> {
  const decoder = new TextDecoder();
  try {
    for await (const chunk of chunks) write(decoder.decode(chunk, { stream: true }), false);
  } finally {
    write("", true);
  }
}

type Writer = (text: string, end: boolean) => void;

/** Longest that is waited for what ends it: a guest could write CRs alone, or a line without an end. */
const MAX_HELD_CRS = 64;
const MAX_LINE = 2 ** 20;

/** A serial console ends lines with CR LF: a CR at the end of a chunk waits for what follows. */
function writeText(): Writer {
  let held = "";
  return (text, end) => {
    const all = held + text;
    let length = all.length;
    while (!end && all[length - 1] === "\r" && all.length - length < MAX_HELD_CRS) length--;
    held = all.slice(length);
    process.stdout.write(printable(all.slice(0, length)));
  };
}

function writeLines(): Writer {
  let held = "";
  return (text, end) => {
    const lines = (held + text).split("\n");
    held = lines.pop() ?? "";
    if ((end && held !== "") || held.length > MAX_LINE) {
      lines.push(held);
      held = "";
    }
    for (const line of lines)
      process.stdout.write(`${JSON.stringify({ line: printable(line.replace(/(?<!\r)\r+$/, "")) })}\n`);
  };
}
