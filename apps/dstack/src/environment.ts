import { InputError } from "@dstack/core";
import type { EnvVariable } from "@dstack/ra-tls";

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** `NAME=value`, or `NAME` for the value it has in this shell. @throws {InputError} */
export function parseVariable(text: string, shell: NodeJS.ProcessEnv = process.env): EnvVariable {
  const equals = text.indexOf("=");
  const key = equals < 0 ? text : text.slice(0, equals);
  if (!NAME.test(key)) throw new InputError(`${JSON.stringify(key)} cannot be the name of a variable`);
  const value = equals < 0 ? shell[key] : text.slice(equals + 1);
  if (value === undefined) throw new InputError(`${key} is not set here: give ${key}=<value>`);
  return { key, value };
}

/** The lines of an env file; empty ones and those that begin with # are skipped, values are taken as they are. */
export function parseEnvFile(text: string): EnvVariable[] {
  return text
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => parseVariable(line));
}

/** The variables in the order given; a later one replaces an earlier one of its name. */
export function mergeVariables(variables: readonly EnvVariable[]): EnvVariable[] {
  return [...new Map(variables.map((variable) => [variable.key, variable])).values()];
}
