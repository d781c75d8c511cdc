import { errorMessage, sleep, withDeadline } from "@dstack/core";
import { identifyProcess, isAlive, signalProcess } from "@dstack/daemon";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { CliError } from "../output.js";
import type { DaemonName, Home } from "./home.js";

/** When a log is longer than this at start, it is moved to `<name>.log.1`. */
const MAX_LOG_BYTES = 4 * 1024 * 1024;

/** Whether a daemon of this installation runs. */
export function isRunning(home: Home, name: DaemonName): boolean {
  const record = home.state.daemons[name];
  return record !== undefined && isAlive(record);
}

export interface DaemonSpec {
  name: DaemonName;
  command: readonly string[];
  /** Resolves when the daemon answers; rejects while it does not. */
  ready: (signal: AbortSignal) => Promise<void>;
}

const READY_LIMIT_MS = 30_000;

/**
 * Starts a daemon in a session of its own, so that it outlives this command, and waits until it answers.
 * @throws {CliError} it ended or did not answer in time; the message holds the end of its log
 */
export async function startDaemon(
  home: Home,
  spec: DaemonSpec,
  signal: AbortSignal,
): Promise<"running" | "started"> {
  if (isRunning(home, spec.name)) {
    await waitReady(home, spec, signal);
    return "running";
  }
  const logPath = home.path("logs", `${spec.name}.log`);
  await mkdir(dirname(logPath), { recursive: true, mode: 0o700 });
  const size = await stat(logPath).then(
    (s) => s.size,
    () => 0,
  );
  if (size > MAX_LOG_BYTES) await rename(logPath, `${logPath}.1`);
  const log = await open(logPath, "a", 0o600);
  const [program, ...args] = spec.command;
  if (program === undefined) throw new Error("a daemon needs a command");
  try {
    const child = spawn(program, args, { detached: true, stdio: ["ignore", log.fd, log.fd], cwd: home.dir });
    await Promise.race([
      once(child, "spawn"),
      once(child, "error").then(([err]) => {
        throw new CliError(
          `cannot start ${spec.name}: ${errorMessage(err)}; \`dstack doctor\` tells what is missing`,
        );
      }),
    ]);
    child.unref();
    const identity = child.pid === undefined ? undefined : identifyProcess(child.pid);
    if (identity === undefined) throw new CliError(await endOfLog(home, spec.name, "ended at once"));
    await home.update({ daemons: { ...home.state.daemons, [spec.name]: identity } });
  } finally {
    await log.close();
  }
  await waitReady(home, spec, signal);
  return "started";
}

async function waitReady(home: Home, spec: DaemonSpec, outer: AbortSignal): Promise<void> {
  let last: unknown;
  const attempt = async (signal: AbortSignal): Promise<void> => {
    for (;;) {
      try {
        await spec.ready(signal);
        return;
      } catch (err) {
        signal.throwIfAborted();
        last = err;
      }
      if (!isRunning(home, spec.name)) {
        throw new CliError(await endOfLog(home, spec.name, "ended while starting"));
      }
      await sleep(100, signal);
    }
  };
  try {
    await withDeadline(`starting ${spec.name}`, READY_LIMIT_MS, attempt, outer);
  } catch (err) {
    if (err instanceof CliError || outer.aborted) throw err;
    throw new CliError(await endOfLog(home, spec.name, `does not answer (${errorMessage(last ?? err)})`), 1, {
      cause: err,
    });
  }
}

async function endOfLog(home: Home, name: DaemonName, what: string): Promise<string> {
  const path = home.path("logs", `${name}.log`);
  const text = await readFile(path, "utf8").catch(() => "");
  const lines = text.trimEnd().split("\n").slice(-5).join("\n  ");
  return `${name} ${what}; the end of ${path}:\n  ${lines}`;
}

/** Ends a daemon: SIGTERM, and SIGKILL when it has not gone within the limit. */
export async function stopDaemon(home: Home, name: DaemonName, limitMs = 15_000): Promise<boolean> {
  const record = home.state.daemons[name];
  const alive = record !== undefined && isAlive(record);
  if (alive) {
    signalProcess(record, "SIGTERM");
    const end = Date.now() + limitMs;
    while (Date.now() < end && isAlive(record)) await sleep(50);
    signalProcess(record, "SIGKILL");
    while (isAlive(record)) await sleep(20);
  }
  const { [name]: _gone, ...rest } = home.state.daemons;
  await home.update({ daemons: rest });
  return alive;
}
