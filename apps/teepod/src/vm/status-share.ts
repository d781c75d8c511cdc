import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "@dstack/core";

/** What a guest may put on its status share: a progress file and `.instance_info` need a few kilobytes. */
export const STATUS_SHARE_LIMITS = { bytes: 16 * 1024 * 1024, entries: 256, depth: 8 } as const;

/**
 * Whether a guest keeps its status share within bounds; 9p has no quota, and the share lies on the host's disk.
 * Follows no link and stops counting at the first limit.
 */
export async function statusShareFits(
  dir: string,
  limits: { bytes: number; entries: number; depth: number } = STATUS_SHARE_LIMITS,
): Promise<boolean> {
  let { bytes, entries } = limits;
  const visit = async (path: string, depth: number): Promise<boolean> => {
    if (depth > limits.depth) return false;
    for await (const entry of await opendir(path)) {
      if (--entries < 0) return false;
      const child = join(path, entry.name);
      if (entry.isDirectory()) {
        if (!(await visit(child, depth + 1))) return false;
      } else {
        const found = await lstat(child);
        // Sparse files count by what they take.
        bytes -= found.blocks * 512;
        if (bytes < 0) return false;
      }
    }
    return true;
  };
  try {
    return await visit(dir, 1);
  } catch (err) {
    // The guest deletes while we look.
    if (errorCode(err) === "ENOENT" || errorCode(err) === "ENOTDIR") return true;
    throw err;
  }
}
