import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Makes the entries of a directory last over a power failure. */
export async function syncDirectory(path: string): Promise<void> {
  const dir = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await dir.sync();
  } finally {
    await dir.close();
  }
}

/**
 * Removes a directory with all that is in it; links are removed, never followed. By `rm(1)`, because a guest can nest
 * directories deeper than a path can be long and put more names into one than Node could hold in memory.
 */
export async function removeTree(path: string): Promise<void> {
  await run("rm", ["-rf", "--one-file-system", "--", path]);
}
