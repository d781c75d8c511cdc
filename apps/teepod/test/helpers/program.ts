import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TeepodConfigInput } from "../../src/index.js";

const run = promisify(execFile);
const app = join(import.meta.dirname, "../..");

/** Bundles a program of this app as programs are shipped; gives the bundle's path. */
export async function bundle(entry: string, out: string): Promise<string> {
  await run(process.execPath, [join(app, "../../scripts/bundle.mjs"), join(app, entry), out]);
  return out;
}

/** Bundles teepod as it is shipped; gives the program's path. */
export async function bundleTeepod(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "teepod-bundle-"));
  return bundle("src/main.ts", join(dir, "teepod.mjs"));
}

function tomlValue(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlValue).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{ ${Object.entries(value)
    .map(([key, inner]) => `${key} = ${tomlValue(inner)}`)
    .join(", ")} }`;
}

/** Writes a configuration file. */
export async function writeConfig(path: string, config: TeepodConfigInput): Promise<string> {
  const lines = Object.entries(config).map(([key, value]) => `${key} = ${tomlValue(value)}`);
  await writeFile(path, `${lines.join("\n")}\n`);
  return path;
}

/** A teepod in a process of its own that serves. */
export interface Child {
  readonly process: ChildProcess;
  readonly url: string;
  /** Ends it with SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

/**
 * Starts a teepod process and waits until it serves.
 * @param wrapper a command that ends in starting the one behind it, e.g. in another namespace
 */
export async function startChild(program: string, config: string, wrapper: string[] = []): Promise<Child> {
  const [command, ...args] = [...wrapper, process.execPath, program, "-c", config];
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      const found = /"url":"([^"]+)","msg":"teepod is serving"/.exec(text)?.[1];
      if (found !== undefined) resolve(found);
    });
    child.once("exit", () => reject(new Error(`teepod ended: ${text}`)));
  });
  return {
    process: child,
    url,
    kill: async () => {
      child.kill("SIGKILL");
      await gone;
    },
  };
}
