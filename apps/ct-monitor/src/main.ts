import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { InputError, errorMessage } from "@dstack/core";
import { ConfigError, createLogger, loadConfig, runDaemon } from "@dstack/daemon";
import { Command, CommanderError } from "commander";
import { CtMonitorConfig } from "./config.js";
import { logTables } from "./log-list.js";
import { checkOnce, startCtMonitor } from "./service.js";

const DEFAULT_CONFIG = "ct-monitor.toml";

/** Exit codes of `--once`. A wrong configuration is 2. */
const ALERT = 1;
const NOT_CHECKED = 3;

interface Flags {
  tproxy?: string[];
  domain?: string;
  ca?: string;
  config?: string;
  once?: boolean;
  insecureKeysOnTrust?: boolean;
}

/** Flags stand over the environment, and both over the file. @throws {ConfigError} */
async function load(flags: Flags): Promise<CtMonitorConfig> {
  const path = flags.config ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined);
  const given = {
    CT_MONITOR_TPROXY_URL: flags.tproxy && JSON.stringify(flags.tproxy),
    CT_MONITOR_DOMAIN: flags.domain,
    CT_MONITOR_TPROXY_CA: flags.ca,
    CT_MONITOR_INSECURE_KEYS_ON_TRUST: flags.insecureKeysOnTrust === true ? "true" : undefined,
  };
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const env = { prefix: "CT_MONITOR", values: { ...process.env, ...set } };
  if (path !== undefined) return loadConfig(CtMonitorConfig, { path, env });
  return loadConfig(CtMonitorConfig, { env }).catch((err: unknown) => {
    if (!(err instanceof ConfigError)) throw err;
    const nowhere = `there is no ${DEFAULT_CONFIG} here (-c names another file), and what flags and environment say is not enough`;
    throw new ConfigError(err.code, `${nowhere}: ${err.message}`, err.details, { cause: err });
  });
}

async function once(flags: Flags): Promise<void> {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => stop.abort(new Error(`stopped by ${name}`)));
  }
  const config = await load(flags);
  // Standard output is for the result.
  const destination = { write: (line: string) => void process.stderr.write(line) };
  const log = createLogger({ name: "ct-monitor", level: config.log_level, destination });
  const { alerts, failures } = await checkOnce(config, stop.signal, { log });
  for (const { id, kind, message, facts } of alerts) {
    process.stdout.write(`ALERT ${id} ${kind}: ${message}\n`);
    for (const [name, value] of Object.entries(facts)) process.stdout.write(`  ${name}: ${value}\n`);
  }
  for (const failure of failures) process.stdout.write(`NOT CHECKED ${failure}\n`);
  if (alerts.length === 0 && failures.length === 0)
    process.stdout.write(`nothing to report for ${config.domain}\n`);
  if (failures.length > 0) process.exitCode = NOT_CHECKED;
  if (alerts.length > 0) process.exitCode = ALERT;
}

const program = new Command("ct_monitor")
  .description("Watches Certificate Transparency for certificates of a domain whose keys are not tproxy's.")
  .version("0.1.0")
  .option("-t, --tproxy <url...>", "RPC listener of each tproxy, such as https://localhost:9070/prpc")
  .option("-d, --domain <domain>", "domain to watch, with all names below it")
  .option("-c, --config <file>", `configuration file (default: ${DEFAULT_CONFIG} where there is one)`)
  .option("--ca <file>", "PEM of the KMS root CA that issued tproxy's RPC certificate")
  .option(
    "--once",
    "one check; exit code 0 quiet, 1 alert, 2 wrong configuration, 3 not all could be checked",
  )
  .option("--insecure-keys-on-trust", "take keys as tproxy tells them, without evidence")
  .showHelpAfterError()
  .exitOverride()
  .action(async (flags: Flags) => {
    if (flags.once === true) return once(flags);
    const config = await load(flags);
    return runDaemon("ct-monitor", (signal) => startCtMonitor(config, { signal }));
  });

program
  .command("logs <file>")
  .description("print the [[log]] tables for a browser's log list that you have downloaded")
  .action(async (file: string) => {
    let list: unknown;
    try {
      list = JSON.parse(await readFile(file, "utf8"));
    } catch (err) {
      throw new InputError(`${file}: ${errorMessage(err)}`, { cause: err });
    }
    process.stdout.write(logTables(list, new Date()));
  });

program.parseAsync().catch((err: unknown) => {
  if (err instanceof CommanderError) {
    // It has said what is wrong. 1 would be an alert.
    process.exitCode = err.exitCode === 0 ? 0 : 2;
    return;
  }
  process.stderr.write(`ct_monitor: ${errorMessage(err)}\n`);
  process.exitCode = err instanceof ConfigError || err instanceof InputError ? 2 : NOT_CHECKED;
});
