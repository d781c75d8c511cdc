import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { CliError } from "../output.js";

/** Adds `--host` and `--token`. */
export function addTeepodOptions(command: Command): Command {
  return command
    .option("--host <url>", "URL of the teepod (default: $DSTACK_TEEPOD_URL, else the local installation)")
    .option("--token <token>", "bearer token (default: $DSTACK_TEEPOD_TOKEN, else the local installation's)");
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
export function portMapping(text: string, before: PortMapping[] = []): PortMapping[] {
  const match = /^(?:(tcp|udp):)?(\d{1,5}):(\d{1,5})$/.exec(text);
  const host = Number(match?.[2]);
  const vm = Number(match?.[3]);
  if (match === null || host < 1 || host > 65535 || vm < 1 || vm > 65535) {
    throw new InvalidArgumentError("must be [tcp:|udp:]<host port>:<vm port>, for example 8080:80.");
  }
  return [...before, { protocol: match[1] ?? "tcp", hostPort: host, vmPort: vm }];
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
