import { constants } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { ChainedLogError } from "./chain.js";

/** What the log needs of an open file. */
export interface LogFile {
  stat(): Promise<{ size: number }>;
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
  /** Appends all of it. */
  appendFile(data: string): Promise<void>;
  datasync(): Promise<void>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

/** Opens it, or makes it so that it is there after a crash. @throws {ChainedLogError} it is no regular file */
export async function openLogFile(path: string): Promise<LogFile> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
  const file = await open(path, flags, 0o600);
  try {
    if (!(await file.stat()).isFile())
      throw new ChainedLogError("failed", `log ${path} is not a regular file`);
    // A new file is only there after a crash when its directory was synced.
    const dir = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await dir.sync();
    } finally {
      await dir.close();
    }
  } catch (err) {
    await file.close();
    throw err;
  }
  return file;
}
