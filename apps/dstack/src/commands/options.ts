import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { CliError } from "../output.js";

/** Adds `--host` and `--token`. */
export function addTeepodOptions(command: Command): Command {
  return command
    .option(
      "--host <host>",
      "URL of the teepod, or its name (`dstack host`; default: $DSTACK_TEEPOD_URL, else the local installation)",
    )
    .option("--token <token>", "bearer token (default: the host's, else $DSTACK_TEEPOD_TOKEN)");
}

/** A command about one CVM, with `--host` and `--token`. */
export function vmCommand(parent: Command, name: string, description: string): Command {
  return addTeepodOptions(
    parent
      .command(name)
      .description(description)
      .argument("<vm>", "id, its first 8 digits or more, name or app id"),
  );
}

/** Adds `--env`, `--env-file` and `--kms-ca`. */
export function addVariableOptions(command: Command): Command {
  return addKmsCaOption(
    command
      .option(
        "--env <variable>",
        "NAME=value, or NAME for its value here: a variable of the compose file, encrypted to the app; may be repeated",
        collect,
        [],
      )
      .option("--env-file <file>", "lines of such variables"),
  );
}

export function addKmsCaOption(command: Command): Command {
  return command.option(
    "--kms-ca <file>",
    "root CA of the KMS, which must have signed the key they are encrypted to (default: the host's, else $DSTACK_KMS_CA, else the local installation's)",
  );
}

/** Adds `--app-id`, for variables of a CVM that is there already. */
export function addAppIdOption(command: Command): Command {
  return command.option(
    "--app-id <id>",
    "which app the CVM is, as its deploy told it: variables for another machine are encrypted to no app that only its teepod names",
  );
}

/** Adds `--name`, `--public-logs`, `--public-sysinfo` and `--public-tcbinfo`: what a compose file's document says beside it. */
export function addDocumentOptions(command: Command): Command {
  return command
    .option(
      "--name <name>",
      "name of the app and of its CVM (default: the document's, else the folder of the file)",
    )
    .option("--public-logs", "let anyone list the containers and read their logs")
    .option("--public-sysinfo", "let anyone see the system's load")
    .option("--public-tcbinfo", "let anyone read the compose document and the event log");
}

/** Adds `--timeout`, for `--wait`. */
export function addWaitOptions(command: Command): Command {
  return command
    .option("--wait", "wait until the app's containers have been started, and show each step of the boot")
    .option("--timeout <s>", "how long --wait waits", wholeNumber(1, 3600), 300);
}

/** For commander: a whole number in a range. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new InvalidArgumentError(`must be a whole number from ${min} to ${max}.`);
    }
    return value;
  };
}

/** A port mapping as people write it: `[tcp:|udp:]<host port>:<vm port>`. */
function portMapping(text: string, before: PortMapping[] = []): PortMapping[] {
  const match = /^(?:(tcp|udp):)?(\d{1,5}):(\d{1,5})$/.exec(text);
  const host = Number(match?.[2]);
  const vm = Number(match?.[3]);
  if (match === null || host < 1 || host > 65535 || vm < 1 || vm > 65535) {
    throw new InvalidArgumentError("must be [tcp:|udp:]<host port>:<vm port>, for example 8080:80.");
  }
  return [...before, { protocol: match[1] ?? "tcp", hostPort: host, vmPort: vm }];
}

/** Adds `--port`. */
export function addPortOption(command: Command): Command {
  return command.option("--port <mapping>", "[tcp:|udp:]<host port>:<vm port>; may be repeated", portMapping);
}

export interface PortMapping {
  protocol: string;
  hostPort: number;
  vmPort: number;
}

/** For commander: an option that may be repeated. */
export const collect = (value: string, before: string[]): string[] => [...before, value];

/** Aborts when the command is interrupted; a second signal ends the process at once. */
export function interruptSignal(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => stop.abort(new CliError("interrupted", 130)));
  }
  return stop.signal;
}
