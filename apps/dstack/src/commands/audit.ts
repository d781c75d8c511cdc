import { errorMessage } from "@dstack/core";
import { ChainedLogError } from "@dstack/daemon";
import { Option } from "commander";
import type { Command } from "commander";
import { createReadStream } from "node:fs";
import { LOG_KINDS, checkChain } from "../audit-chain.js";
import type { ChainVerdict } from "../audit-chain.js";
import { getFromTeepod } from "../http-get.js";
import { CliError, columns, printResult } from "../output.js";
import { teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addTeepodOptions, interruptSignal, wholeNumber } from "./options.js";

interface VerifyOptions extends TeepodOptions {
  file?: string;
  kind: keyof typeof LOG_KINDS;
  head?: string;
}

/** `dstack audit` */
export function registerAudit(program: Command): void {
  const audit = program
    .command("audit")
    .description("what was asked of a teepod, and whether its log was changed");

  addTeepodOptions(audit.command("ls").description("show what was asked of a teepod, newest first"))
    .option("-n, --limit <n>", "how many entries", wholeNumber(1, 500), 50)
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions & { limit: number }>();
      const client = teepodClient(await teepodAddress(options));
      const { entries } = await client.getAuditLog({ limit: options.limit });
      const rows = entries.map(({ $typeName: _type, ...entry }) => ({ ...entry, seq: Number(entry.seq) }));
      printResult(options, rows, () =>
        rows.length === 0
          ? "nothing was asked of this teepod yet"
          : columns([
              ["WHEN", "WHO", "FROM", "WHAT", "VM", "OUTCOME"],
              ...rows.map((e) => [
                e.at,
                `${e.who} (${e.role})`,
                e.from,
                e.method,
                e.vm,
                e.message === undefined ? e.outcome : `${e.outcome}: ${e.message}`,
              ]),
            ]),
      );
    });

  addTeepodOptions(
    audit
      .command("verify")
      .description("check the hash chain of an audit log: exit code 1 when it was changed"),
  )
    .option("--file <file>", "of this file instead of a teepod's")
    .addOption(
      new Option("--kind <kind>", "whose log the file is").choices(Object.keys(LOG_KINDS)).default("teepod"),
    )
    .option("--head <hash>", "an entry's hash that was kept: the log must still hold that entry")
    .addHelpText(
      "after",
      "\nThe chain shows each change but one: a log that was cut at its end, or made anew, is whole too. Keep the head that\n" +
        "this command prints, on another machine, and give it with --head the next time.",
    )
    .action(async (_: unknown, command: Command) => verify(command.optsWithGlobals<VerifyOptions>()));
}

async function verify(options: VerifyOptions): Promise<void> {
  if (options.head !== undefined && !/^[0-9a-f]{64}$/.test(options.head))
    throw new CliError("--head must be 64 lower-case hex digits", 2);
  if (options.kind !== "teepod" && options.file === undefined)
    throw new CliError("--kind goes with --file: a teepod gives its own log alone", 2);
  const what = options.file ?? "audit.log";
  let verdict: ChainVerdict;
  try {
    verdict = await checkChain(what, await open(options), options.kind, options.head);
  } catch (err) {
    if (err instanceof ChainedLogError)
      throw new CliError(`${err.message}: somebody changed it`, 1, { cause: err });
    throw err;
  }
  const { head, entries, tornBytes, headFound } = verdict;
  if (headFound === false) {
    throw new CliError(
      `no entry of ${what} has the hash ${options.head}: it was cut, or made anew, since that was kept`,
    );
  }
  printResult(
    options,
    { entries, head: head.hash, last: verdict.last, torn_bytes: tornBytes, head_found: headFound },
    () =>
      [
        `the chain of ${entries} entr${entries === 1 ? "y" : "ies"} is whole${headFound === true ? ", and holds the entry that was kept" : ""}`,
        tornBytes > 0 ? "its last line is not whole: it is being written, or its writer was killed" : [],
        `head ${head.hash}`,
      ]
        .flat()
        .join("\n"),
  );
}

async function open(options: VerifyOptions): Promise<AsyncIterable<Uint8Array>> {
  if (options.file === undefined)
    return getFromTeepod(await teepodAddress(options), "/audit.log", interruptSignal());
  const stream = createReadStream(options.file);
  await new Promise((resolve, reject) => {
    stream.once("open", resolve);
    stream.once("error", (err) => reject(new CliError(`cannot read ${options.file}: ${errorMessage(err)}`)));
  });
  return stream as AsyncIterable<Uint8Array>;
}
