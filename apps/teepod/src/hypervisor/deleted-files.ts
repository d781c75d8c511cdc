import { readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "@dstack/core";

/**
 * Bytes on the disk of files below a directory that a process has deleted and holds open. A guest that creates a
 * file on a 9p share, deletes it and goes on writing fills the host's disk with something no listing shows.
 * @param dir absolute path without links
 */
export async function deletedBytes(pid: number, dir: string): Promise<number> {
  const fds = join("/proc", String(pid), "fd");
  let bytes = 0;
  for (const fd of await entries(fds)) {
    try {
      // For a deleted file the kernel gives the path it had, which the guest chose below the directory only.
      const target = await readlink(join(fds, fd), { encoding: "latin1" });
      if (!target.startsWith(`${Buffer.from(dir).toString("latin1")}/`)) continue;
      const found = await stat(join(fds, fd));
      if (found.nlink === 0) bytes += found.blocks * 512;
    } catch (err) {
      if (errorCode(err) !== "ENOENT" && errorCode(err) !== "ESRCH") throw err; // closed meanwhile
    }
  }
  return bytes;
}

async function entries(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (err) {
    if (errorCode(err) === "ENOENT" || errorCode(err) === "ESRCH") return []; // it has ended
    throw err;
  }
}
