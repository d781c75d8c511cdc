import type { VmExit } from "../hypervisor/hypervisor.js";
import type { BootProgress } from "./progress.js";
import { cleanLine } from "./text.js";

const MAX_LINE_LENGTH = 200;

/** Kernel messages of a boot that failed, most telling first. */
const TELLING = [
  /Kernel panic - not syncing: .*/,
  /VFS: Unable to mount root fs.*/,
  /Out of memory: .*/,
  /dstack(?:-boot)?\[?\S*: .*(?:error|failed).*/i,
];

/** How a kernel names a fault of its own, above the registers and the stack. */
const FAULT = /(?:Oops|BUG|kernel BUG at|general protection fault)\b.*/;

/** The most telling line of a console's last lines. */
function tellingLine(console: string): string | undefined {
  const lines = console.split("\n").map((line) => cleanLine(line, 4 * MAX_LINE_LENGTH));
  const last = (pattern: RegExp): string | undefined => {
    const match = lines.findLast((line) => pattern.test(line));
    return match === undefined ? undefined : pattern.exec(match)?.[0];
  };
  for (const pattern of TELLING) {
    const text = last(pattern);
    // A panic of this kind does not name the fault it follows.
    const fault = text?.includes("Fatal exception") === true ? last(FAULT) : undefined;
    if (text !== undefined)
      return cleanLine(fault === undefined ? text : `${text} (${fault})`, MAX_LINE_LENGTH);
  }
  const end = lines.findLast((line) => line !== "");
  // What a kernel puts before each line says nothing to the reader of one sentence.
  return end === undefined ? undefined : cleanLine(end.replace(/^\[\s*\d+\.\d+\] /, ""), MAX_LINE_LENGTH);
}

/**
 * Why a VM that has ended never became ready, in one sentence; `undefined` when it had been ready.
 * @param console the end of the boot's console output
 */
export function bootError(progress: BootProgress, exit: VmExit, console: string): string | undefined {
  if (progress.ready) return undefined;
  if (progress.error !== undefined) return progress.error;
  const cause = exit.reason ?? (exit.code === null ? "it was killed" : `exit code ${exit.code}`);
  const step = progress.progress === undefined ? "" : ` after "${progress.progress}"`;
  const line = tellingLine(console);
  const last =
    line === undefined ? "; it printed nothing on its console" : `; its console ended with: ${line}`;
  return `the VM ended before it was ready${step} (${cause})${last}`;
}
