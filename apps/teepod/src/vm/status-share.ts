import { Buffer } from "node:buffer";
import { lstat, mkdir, opendir } from "node:fs/promises";
import { errorCode } from "@dstack/core";
import { removeTree } from "./directories.js";

/** What a guest may put on its status share: a progress file and `.instance_info` need a few kilobytes. */
export const STATUS_SHARE_LIMITS = { bytes: 16 * 1024 * 1024, entries: 256, depth: 8 } as const;

export interface ShareLimits {
  readonly bytes: number;
  readonly entries: number;
  readonly depth: number;
}

const SLASH = Buffer.from("/");

/** `undefined` for what the guest took away while we look. */
async function ifStillThere<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look;
  } catch (err) {
    const code = errorCode(err);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw err;
  }
}

/** The names in a directory, or `undefined` when there are more than `limit`; a guest can make millions. */
async function listing(path: Buffer, limit: number): Promise<Buffer[] | undefined> {
  // With this encoding names are buffers, which the type of the library does not know.
  const dir = await ifStillThere(
    opendir(path as unknown as string, { encoding: "buffer" as BufferEncoding }),
  );
  const names: Buffer[] = [];
  for await (const { name } of (dir ?? []) as AsyncIterable<{ name: unknown }>) {
    if (names.length === limit) return undefined;
    names.push(name as Buffer);
  }
  return names;
}

/**
 * Whether a guest keeps its status share within bounds; 9p has no quota, and the share lies on the host's disk.
 * Follows no link and stops counting at the first limit. Names are bytes here: one that is not UTF-8 must count too.
 * @param takenElsewhere bytes to be counted besides those of the files found
 */
export async function statusShareFits(
  dir: string,
  takenElsewhere: number,
  limits: ShareLimits = STATUS_SHARE_LIMITS,
): Promise<boolean> {
  let { entries } = limits;
  let bytes = limits.bytes - takenElsewhere;
  const visit = async (path: Buffer, depth: number): Promise<boolean> => {
    if (depth > limits.depth) return false;
    const names = await listing(path, entries);
    if (names === undefined) return false;
    entries -= names.length;
    for (const name of names) {
      const child = Buffer.concat([path, SLASH, name]);
      const found = await ifStillThere(lstat(child));
      if (found === undefined) continue;
      // Sparse files count by what they take, directories too: they grow with the names they have held.
      bytes -= found.blocks * 512;
      if (bytes < 0) return false;
      if (found.isDirectory() && !(await visit(child, depth + 1))) return false;
    }
    return true;
  };
  return bytes >= 0 && (await visit(Buffer.from(dir), 1));
}

/** Throws away what is on a status share. Only while its VM does not run. */
export async function clearStatusShare(dir: string): Promise<void> {
  await removeTree(dir);
  await mkdir(dir, { mode: 0o700 });
}
