import { statfs } from "node:fs/promises";
import { errorCode } from "@dstack/core";
import { VmError } from "./errors.js";

/** Free bytes of the file system a path is on. A test gives other answers. */
export type FreeSpace = (path: string) => Promise<number>;

export const freeSpace: FreeSpace = async (path) => {
  const found = await statfs(path);
  return found.bavail * found.bsize;
};

function megabytes(bytes: number): string {
  return `${Math.floor(bytes / 2 ** 20)} MB`;
}

/** Whether a path's file system has that much room. */
export async function hasDiskSpace(path: string, bytes: number, free: FreeSpace): Promise<boolean> {
  return (await free(path)) >= bytes;
}

/**
 * Data disks are sparse, so they may add up to more than there is; but with less than the reserve no VM is made or
 * started, for the ones that run would be the next to fail.
 * @throws {VmError} no_space
 */
export async function requireDiskSpace(path: string, reserveBytes: number, free: FreeSpace): Promise<void> {
  const bytes = await free(path);
  if (bytes >= reserveBytes) return;
  throw new VmError(
    "no_space",
    `the host's disk is full: ${megabytes(bytes)} are free and ${megabytes(reserveBytes)} must stay free`,
    { path },
  );
}

/** Runs work that writes; a full disk becomes one clear sentence. */
export async function explainFullDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (err) {
    const code = errorCode(err);
    if (code === "ENOSPC" || code === "EDQUOT") {
      throw new VmError("no_space", "the host's disk is full", {}, { cause: err });
    }
    if (code === "EFBIG") {
      throw new VmError(
        "no_space",
        "the host's file system cannot hold a disk of that size",
        {},
        { cause: err },
      );
    }
    throw err;
  }
}
