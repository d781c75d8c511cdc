import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { errorCode } from "@dstack/core";

/**
 * One process for good: a pid alone is reused, together with the start time and the host's boot it is not.
 */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks between the host's boot and the process's start (proc(5), stat field 22). */
  readonly startTicks: number;
  /** `/proc/sys/kernel/random/boot_id` */
  readonly bootId: string;
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch (err) {
    const code = errorCode(err);
    if (code === "ENOENT" || code === "ESRCH" || code === "EACCES") return undefined;
    throw err;
  }
}

/** Identifies this boot of the host. */
export function hostBootId(): string {
  return (readProc("/proc/sys/kernel/random/boot_id") ?? "").trim();
}

/** The identity of a live process. A zombie has ended; only its parent has not looked yet. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  const stat = readProc(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The second field is the command in parentheses and may contain anything, parentheses and blanks included.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  const startTicks = Number(fields[19]);
  if (state === undefined || state === "Z" || state === "X" || !Number.isSafeInteger(startTicks)) {
    return undefined;
  }
  return { pid, startTicks, bootId: hostBootId() };
}

/** Whether that very process still lives. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = identifyProcess(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && now.bootId === identity.bootId;
}

/** Sends a signal to that very process; a process that has ended is left alone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, signal);
  } catch (err) {
    if (errorCode(err) !== "ESRCH") throw err;
  }
}

/** Live processes whose argument list contains `argument` and whose working directory is `cwd`. */
export function findProcesses(argument: string, cwd: string): ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue;
    const args = readProc(`/proc/${entry}/cmdline`)?.split("\0");
    if (args?.includes(argument) !== true) continue;
    try {
      if (readlinkSync(`/proc/${entry}/cwd`) !== cwd) continue;
    } catch {
      continue; // it ended between the two looks, or is not ours to look at
    }
    const identity = identifyProcess(Number(entry));
    if (identity !== undefined) found.push(identity);
  }
  return found;
}
