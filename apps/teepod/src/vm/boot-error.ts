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

/** The most telling line of a console's last lines. */
function tellingLine(console: string): string | undefined {
  const lines = console.split("\n").map((line) => cleanLine(line, 4 * MAX_LINE_LENGTH));
  for (const pattern of TELLING) {
    const match = lines.findLast((line) => pattern.test(line));
    const text = match === undefined ? undefined : pattern.exec(match)?.[0];
    if (text !== undefined) return cleanLine(text, MAX_LINE_LENGTH);
  }
  const last = lines.findLast((line) => line !== "");
  // What a kernel puts before each line says nothing to the reader of one sentence.
  return last === undefined ? undefined : cleanLine(last.replace(/^\[\s*\d+\.\d+\] /, ""), MAX_LINE_LENGTH);
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
