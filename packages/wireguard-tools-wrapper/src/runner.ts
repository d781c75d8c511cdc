import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { access, constants, open, unlink } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errorCode } from "@dstack/core";
import { WireGuardError } from "./errors.js";

export interface RunOptions {
  /** What the command finds when it opens `/dev/stdin`. */
  readonly input?: string;
  /** The command leaves a daemon behind: a session of its own, so that our terminal's signals do not reach it. */
  readonly leavesDaemon?: boolean;
}

/** Runs one command without a shell and gives its standard output. Tests replace it. */
export type Runner = (file: string, args: readonly string[], options?: RunOptions) => Promise<string>;

/** `ip` and `wg` answer in milliseconds; a stuck one must not stop registrations for ever. */
const COMMAND_TIME_LIMIT_MS = 10_000;

/**
 * Runs the real command.
 * @throws {WireGuardError} `command_failed` with the first line of its standard error
 */
export const runCommand: Runner = async (file, args, options = {}) => {
  const input = options.input === undefined ? undefined : await unnamedFile(options.input);
  try {
    return await spawnAndRead(file, args, input?.fd, options.leavesDaemon ?? false);
  } finally {
    await input?.close();
  }
};

function spawnAndRead(
  file: string,
  args: readonly string[],
  stdin: number | undefined,
  detached: boolean,
): Promise<string> {
  const child = spawn(file, args, {
    stdio: [stdin ?? "ignore", "pipe", "pipe"],
    timeout: COMMAND_TIME_LIMIT_MS,
    killSignal: "SIGKILL",
    detached,
    cwd: "/",
    // Nothing else is inherited: LOG_LEVEL would make wireguard-go's daemon hold our pipes open.
    env: { LC_ALL: "C", PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/bin:/sbin:/bin` },
  });
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const failed = (reason: string): WireGuardError =>
    new WireGuardError("command_failed", `running ${[file, ...args].join(" ")}: ${reason}`, { stderr });
  return new Promise((resolve, reject) => {
    child.once("error", (err) => reject(failed(errorCode(err) === "ENOENT" ? "not installed" : err.message)));
    child.once("close", (code, signal) => {
      if (code === 0) resolve(stdout);
      else if (signal === "SIGKILL") reject(failed(`no answer in ${COMMAND_TIME_LIMIT_MS} ms`));
      else reject(failed(firstLine(stderr) ?? `it ended with ${code ?? signal}`));
    });
  });
}

/** wireguard-go prints a box of advice before its error. */
function firstLine(text: string): string | undefined {
  return text.split("\n").find((line) => line.trim() !== "" && !/^[\s┌│└─]/u.test(line));
}

/**
 * A file without a name, holding text with a private key: no other process can open it by path, and nothing is left
 * if we are killed. Node's own pipes are sockets, which cannot be opened as `/dev/stdin`.
 */
async function unnamedFile(text: string): Promise<FileHandle> {
  const directory = await access("/run", constants.W_OK).then(
    () => "/run",
    () => tmpdir(),
  );
  const path = join(directory, `.wg-${randomBytes(12).toString("hex")}`);
  const file = await open(path, "wx+", 0o600);
  try {
    await unlink(path);
    await file.writeFile(text);
    return file;
  } catch (err) {
    await file.close();
    throw err;
  }
}
