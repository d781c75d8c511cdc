import { writeFile } from "node:fs/promises";
import { type Certbot, recordText } from "@dstack/acme";
import { InputError, errorCode, errorMessage } from "@dstack/core";
import { ConfigError, createLogger, loadConfig, runDaemon } from "@dstack/daemon";
import { Command, CommanderError } from "commander";
import { CertbotConfig } from "./config.js";
import { EXAMPLE_CONFIG, requireOwnValues } from "./example-config.js";
import { openCertbot } from "./open-certbot.js";
import { startCertbot } from "./service.js";
import { statusText } from "./status-text.js";

interface Common {
  config: string;
}

async function load(path: string): Promise<CertbotConfig> {
  const config = await loadConfig(CertbotConfig, { path, env: { prefix: "CERTBOT", values: process.env } });
  requireOwnValues(config, path);
  return config;
}

/** Runs one command on the certbot of a configuration; SIGINT and SIGTERM end it. */
async function once<T>(
  { config: path }: Common,
  work: (certbot: Certbot, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => stop.abort(new Error(`stopped by ${name}`)));
  }
  const config = await load(path);
  // Standard output is for the result.
  const destination = { write: (line: string) => void process.stderr.write(line) };
  const log = createLogger({ name: "certbot", level: config.log_level, destination });
  await using opened = await openCertbot(config, log);
  return await work(opened.certbot, stop.signal);
}

const print = (text: string): void => void process.stdout.write(text);

const program = new Command("certbot")
  .description("Keeps a TLS certificate that only its own ACME account may order, by DNS-01 and CAA.")
  .version("0.1.0")
  .showHelpAfterError()
  .exitOverride();

const command = (name: string, description: string): Command =>
  program
    .command(name)
    .description(description)
    .option("-c, --config <file>", "configuration file", "certbot.toml");

command("init", "create the ACME accounts and set CAA records; safe to run again").action(
  async (options: Common) => {
    const { accounts } = await once(options, (certbot, signal) => certbot.init(signal));
    for (const { ca, uri } of accounts) print(`${ca}: ${uri}\n`);
  },
);

command("renew", "keep the certificate alive: check, order when due, run the hook; for ever, or once")
  .option("--once", "one check, then exit")
  .option("--force", "get a new certificate even if none is due")
  .action(async (options: Common & { once?: boolean; force?: boolean }) => {
    const force = options.force ?? false;
    if (options.once !== true) {
      await runDaemon("certbot", async () => startCertbot(await load(options.config), { force }));
    }
    const { renewed, live } = await once(options, (certbot, signal) => certbot.renew({ force }, signal));
    print(
      `${renewed ? "renewed" : "up to date"}: ${live.names.join(", ")} until ${live.notAfter.toISOString()}\n`,
    );
  });

command("set-caa", "make CAA records let only our accounts issue").action(async (options: Common) => {
  const kept = await once(options, (certbot, signal) => certbot.setCaa(signal));
  for (const record of kept) print(`kept, not ours: ${recordText(record)}\n`);
  print("CAA records are as wanted\n");
});

command("status", "what is there, what expires, what would block; exit code 1 when something would")
  .option("--json", "one JSON document")
  .action(async (options: Common & { json?: boolean }) => {
    const status = await once(options, (certbot, signal) => certbot.status(signal));
    print(options.json === true ? `${JSON.stringify(status)}\n` : statusText(status));
    process.exitCode = status.problems.length === 0 ? 0 : 1;
  });

command(
  "rehearse",
  "order from the staging CA under the real CAA; exit code 1 when a renewal would fail",
).action(async (options: Common) => {
  const results = await once(options, (certbot, signal) => certbot.rehearse(signal));
  for (const { ca, ordered, problems } of results) {
    const staging = {
      true: "staging order done",
      false: "no certificate from staging",
      undefined: "it has no staging_url",
    };
    print(`${ca}: ${staging[`${ordered}`]}\n`);
    for (const problem of problems) print(`  PROBLEM ${problem}\n`);
  }
  process.exitCode = results.every(({ problems }) => problems.length === 0) ? 0 : 1;
});

program
  .command("cfg")
  .description("print a commented configuration")
  .option("-w, --write-to <file>", "write it to a new file instead")
  .action(async ({ writeTo }: { writeTo?: string }) => {
    if (writeTo === undefined) print(EXAMPLE_CONFIG);
    // It will hold a token.
    else await writeFile(writeTo, EXAMPLE_CONFIG, { flag: "wx", mode: 0o600 });
  });

program.parseAsync().catch((err: unknown) => {
  if (err instanceof CommanderError) {
    // It has said what is wrong. 1 would be "something is in the way", which nobody has looked for.
    process.exitCode = err.exitCode === 0 ? 0 : 2;
    return;
  }
  const reason =
    errorCode(err) === "EEXIST" ? `${errorMessage(err)}; nothing is ever overwritten` : errorMessage(err);
  process.stderr.write(`certbot: ${reason}\n`);
  process.exitCode = err instanceof ConfigError || err instanceof InputError ? 2 : 1;
});
