import { spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { hideValues } from "./hide-values.js";

export interface CommandOptions {
  readonly signal: AbortSignal;
  /** Goes to standard input, which is then closed. The place for secrets (G4). */
  readonly input?: Uint8Array | string;
  /** Added to a small environment of our own; nothing is inherited. Its values are in no output of ours (G4). */
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Lines of both outputs go to the console as they come. */
  readonly echo?: boolean;
}

const ENVIRONMENT = {
  LC_ALL: "C",
  PATH: "/usr/sbin:/usr/bin",
  HOME: "/root",
  // No udev runs here; libdevmapper would wait for it.
  DM_DISABLE_UDEV: "1",
};
/** Enough of a command's complaint to quote. */
const MAX_OUTPUT_CHARS = 64 * 1024;

/**
 * Runs a program without a shell and gives its standard output.
 * @throws {Error} `<program> failed: <last line of its standard error>`
 */
export async function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<string> {
  const child = spawn(file, args, {
    stdio: ["pipe", "pipe", "pipe"],
    cwd: options.cwd ?? "/",
    // The app's own variables come first: none of them replaces ours.
    env: { ...options.environment, ...ENVIRONMENT },
    signal: options.signal,
    killSignal: "SIGKILL",
  });
  let stdout = "";
  let stderr = "";
  const hide = hideValues(options.environment ?? {});
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout = (stdout + text).slice(-MAX_OUTPUT_CHARS);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr = (stderr + text).slice(-MAX_OUTPUT_CHARS);
  });
  if (options.echo === true) {
    for (const output of [child.stdout, child.stderr]) echoLines(output, hide);
  }
  child.stdin.on("error", () => {}); // the child may end without reading; its exit code says so
  child.stdin.end(options.input ?? "");
  await new Promise<void>((resolve, reject) => {
    child.once("error", (err) =>
      reject(
        options.signal.aborted
          ? (options.signal.reason as Error)
          : new Error(`${file} failed: ${err.message}`),
      ),
    );
    child.once("close", (code, signal) => {
      if (code === 0) resolve();
      else
        reject(new Error(`${file} failed: ${lastLine(hide(stderr)) ?? `it ended with ${code ?? signal}`}`));
    });
  });
  return stdout;
}

function lastLine(text: string): string | undefined {
  return text
    .trimEnd()
    .split("\n")
    .findLast((line) => line.trim() !== "");
}

/** Whole lines, and what is left at the end: a value that comes in two pieces would not be recognized. */
function echoLines(output: Readable, hide: (text: string) => string): void {
  let held = "";
  const write = (text: string): void => {
    if (text !== "") process.stdout.write(hide(text));
  };
  output.on("data", (text: string) => {
    held += text;
    const end = held.length > MAX_OUTPUT_CHARS ? held.length : held.lastIndexOf("\n") + 1;
    write(held.slice(0, end));
    held = held.slice(end);
  });
  output.on("end", () => write(held));
}
