import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { CodedError, errorCode, errorMessage } from "@dstack/core";
import { TomlError, parse } from "smol-toml";
import type { z } from "zod";
import { environmentTree } from "./environment.js";

/** The configuration cannot be used. The message is a sentence for the operator that names the file and the key. */
export class ConfigError extends CodedError<"unreadable" | "syntax" | "invalid"> {
  override name = "ConfigError";
}

export interface ConfigSources {
  /** TOML file. */
  path?: string;
  /** Values under those of the file. */
  defaults?: Record<string, unknown>;
  /** Values over those of the file: `<PREFIX>_KEY`, or `<PREFIX>_TABLE__KEY` for a key in a table. */
  env?: { prefix: string; values: Readonly<Record<string, string | undefined>> };
}

type Tree = Record<string, unknown>;

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && !(value instanceof Date) && !Array.isArray(value);
}

function merge(under: Tree, over: Tree): Tree {
  const merged = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) {
    const below = merged.get(key);
    merged.set(key, isTree(below) && isTree(value) ? merge(below, value) : value);
  }
  return Object.fromEntries(merged);
}

async function readToml(path: string): Promise<Tree> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (err) {
    const why = errorCode(err) === "ENOENT" ? "there is no such file" : errorMessage(err);
    throw new ConfigError("unreadable", `cannot read ${path}: ${why}`, { path }, { cause: err });
  }
  try {
    return parse(text);
  } catch (err) {
    if (!(err instanceof TomlError)) throw err;
    const why = err.message.split("\n", 1)[0] ?? "invalid TOML";
    throw new ConfigError("syntax", `${path}:${err.line}:${err.column}: ${why}`, { path }, { cause: err });
  }
}

type Issue = z.core.$ZodIssue;

/** The issues of the variant that came closest: for a union zod reports all variants' issues. */
function flatten(issue: Issue): Issue[] {
  if (issue.code !== "invalid_union") return [issue];
  const closest = issue.errors.toSorted((a, b) => a.length - b.length)[0];
  if (closest === undefined || closest.length === 0) return [issue];
  return closest.flatMap((inner) => flatten({ ...inner, path: [...issue.path, ...inner.path] }));
}

function sentences(issue: Issue): string[] {
  const path = issue.path.map(String);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => `unknown key "${[...path, key].join(".")}"`);
  }
  const key = path.join(".");
  if (issue.code === "invalid_type" && issue.message.endsWith("received undefined"))
    return [`"${key}" is missing`];
  return [key === "" ? issue.message : `"${key}": ${issue.message}`];
}

/**
 * Reads a daemon's configuration once: defaults, then the TOML file, then the environment, checked by the schema.
 * Use `z.strictObject` in the schema, so that a key nobody knows is refused.
 * @throws {ConfigError} the file cannot be read or is not TOML, a key is unknown, missing or has a wrong value
 */
export async function loadConfig<T extends z.ZodType>(
  schema: T,
  sources: ConfigSources,
): Promise<z.output<T>> {
  let tree: Tree = sources.defaults ?? {};
  if (sources.path !== undefined) tree = merge(tree, await readToml(sources.path));
  if (sources.env !== undefined) tree = merge(tree, environmentTree(sources.env.prefix, sources.env.values));
  const result = await schema.safeParseAsync(tree);
  if (result.success) return result.data;
  const where =
    sources.path ?? (sources.env === undefined ? "configuration" : `environment ${sources.env.prefix}_*`);
  const problems = result.error.issues.flatMap(flatten).flatMap(sentences);
  throw new ConfigError("invalid", `${where}: ${problems.join("; ")}`, { file: basename(where), problems });
}
