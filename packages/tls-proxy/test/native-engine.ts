import { execFile } from "node:child_process";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const native = fileURLToPath(new URL("../native/", import.meta.url));
const fuzz = fileURLToPath(new URL("../fuzz/", import.meta.url));

/** Every bad access ends the program, and so does memory nobody frees. */
export const CHECKS = [
  ...["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
];

export async function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), "dstack-tls-proxy-"));
}

/** Every access of two threads that nothing puts into an order ends the program. */
export const THREAD_CHECKS = ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=thread"];

/** Builds the engine as a program, checks included, against the system's OpenSSL. */
export async function buildCheckedEngine(directory: string, checks = CHECKS): Promise<string> {
  const files = (await readdir(native)).filter((name) => name.endsWith(".c") && name !== "addon.c");
  const program = join(directory, "engine");
  const sources = files.map((name) => join(native, name));
  await run("cc", [
    ...["-std=c11", "-D_GNU_SOURCE", ...checks, "-o", program],
    ...[...sources, "-lssl", "-lcrypto"],
  ]);
  return program;
}

/** What the parsers consist of. */
const PARSERS = ["bytes", "name", "hello", "proxy_header", "table", "routes"];

/** The files of a program of `fuzz`, and of the parsers it needs. */
export function parserSources(...names: string[]): string[] {
  return [
    `-I${native}`,
    ...names.map((name) => join(fuzz, `${name}.c`)),
    ...PARSERS.map((name) => join(native, `${name}.c`)),
  ];
}

/** Builds such a program. */
export async function buildWithParsers(directory: string, ...names: string[]): Promise<string> {
  const program = join(directory, names[0] ?? "program");
  await run("cc", ["-std=c11", "-D_GNU_SOURCE", ...CHECKS, "-o", program, ...parserSources(...names)]);
  return program;
}
