import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { ProgressLine } from "../guest-system.js";

/**
 * Appends a line to a file of the host's. The host may have put a link or a pipe there: neither is followed or waited
 * for.
 * @throws a system error
 */
export async function appendProgress(path: string, line: ProgressLine): Promise<void> {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;
  const file = await open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o644);
  try {
    if (!(await file.stat()).isFile()) throw new Error("progress.jsonl is not a regular file");
    await file.writeFile(`${JSON.stringify(line)}\n`);
  } finally {
    await file.close();
  }
}

/** The same for the console, where a person reads it. */
export function consoleLine({ step, state, message }: ProgressLine): string {
  return `dstack: ${step}: ${state}${message === undefined ? "" : ` (${message})`}`;
}
