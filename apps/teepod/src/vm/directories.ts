import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { open, rm } from "node:fs/promises";
import { promisify } from "node:util";
import { errorCode } from "@dstack/core";

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
 * Removes a directory with all that is in it; links are removed, never followed. A guest can nest directories deeper
 * than a path can be long, which `rm(1)` handles and Node does not.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (err) {
    const code = errorCode(err);
    if (code !== "ENAMETOOLONG" && code !== "ERR_FS_EISDIR" && code !== "ENOTEMPTY") throw err;
    await run("rm", ["-rf", "--one-file-system", "--", path]);
  }
}
