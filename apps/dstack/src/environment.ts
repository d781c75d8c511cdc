import { InputError } from "@dstack/core";
import type { EnvVariable } from "@dstack/ra-tls";
import { readTextFile } from "./read-file.js";

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

/** The variables of `--env-file` and `--env`; those of the command line win. */
export async function readVariables({
  env,
  envFile,
}: {
  env: readonly string[];
  envFile?: string;
}): Promise<EnvVariable[]> {
  const fromFile = envFile === undefined ? [] : parseEnvFile(await readTextFile(envFile));
  return mergeVariables([...fromFile, ...env.map((text) => parseVariable(text))]);
}

/** The variables in the order given; a later one replaces an earlier one of its name. */
export function mergeVariables(variables: readonly EnvVariable[]): EnvVariable[] {
  return [...new Map(variables.map((variable) => [variable.key, variable])).values()];
}

/**
 * The text of an env file with variables set or taken out; everything else in it stays.
 * @throws {InputError} a value that does not fit on a line
 */
export function editEnvFile(text: string, set: readonly EnvVariable[], unset: readonly string[]): string {
  const wrapped = set.find(({ value }) => /[\r\n]/.test(value));
  if (wrapped !== undefined)
    throw new InputError(`the value of ${wrapped.key} has several lines, which an env file cannot hold`);
  const values = new Map(mergeVariables(set).map(({ key, value }) => [key, `${key}=${value}`]));
  const nameOf = (line: string): string => /^[A-Za-z_][A-Za-z0-9_]*(?==|$)/.exec(line)?.[0] ?? "";
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  // A later line replaces an earlier one of its name, so only the last is kept.
  const last = new Map(lines.map((line, i) => [nameOf(line), i]));
  const kept = lines.flatMap((line, i) => {
    const name = nameOf(line);
    if (unset.includes(name)) return [];
    const value = values.get(name);
    if (value === undefined) return [line];
    if (last.get(name) !== i) return [];
    values.delete(name);
    return [value];
  });
  return [...kept, ...values.values()].map((line) => `${line}\n`).join("");
}
