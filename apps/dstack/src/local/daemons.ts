import { errorCode, errorMessage, sleep, withDeadline } from "@dstack/core";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile, rename, stat } from "node:fs/promises";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { CliError } from "../output.js";
import type { DaemonName, DaemonRecord, Home } from "./home.js";

/** When a log is longer than this at start, it is moved to `<name>.log.1`. */
const MAX_LOG_BYTES = 4 * 1024 * 1024;

/** Start time of a process (proc(5), stat field 22), or undefined when it is gone or a zombie. */
export async function processStartTime(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    // The name in parentheses may hold anything, so fields are counted from the last parenthesis.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? undefined : fields[19];
  } catch (err) {
    if (errorCode(err) === "ENOENT" || errorCode(err) === "ESRCH") return undefined;
    throw err;
  }
}

export async function isAlive(record: DaemonRecord | undefined): Promise<boolean> {
  return record !== undefined && (await processStartTime(record.pid)) === record.startTime;
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
  if (await isAlive(home.state.daemons[spec.name])) {
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
    const pid = child.pid;
    const startTime = pid === undefined ? undefined : await processStartTime(pid);
    if (pid === undefined || startTime === undefined)
      throw new CliError(await endOfLog(home, spec.name, "ended at once"));
    await home.update({ daemons: { ...home.state.daemons, [spec.name]: { pid, startTime } } });
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
      if (!(await isAlive(home.state.daemons[spec.name]))) {
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
  const alive = record !== undefined && (await isAlive(record));
  if (alive) {
    process.kill(record.pid, "SIGTERM");
    const end = Date.now() + limitMs;
    while (Date.now() < end && (await isAlive(record))) await sleep(50);
    if (await isAlive(record)) process.kill(record.pid, "SIGKILL");
    while (await isAlive(record)) await sleep(20);
  }
  const { [name]: _gone, ...rest } = home.state.daemons;
  await home.update({ daemons: rest });
  return alive;
}
