import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { InputError, errorCode } from "./errors.js";

async function syncDirectory(path: string): Promise<void> {
  const dir = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await dir.sync();
  } finally {
    await dir.close();
  }
}

/**
 * Replaces a file so that a reader, or a crash at any moment, sees either the old or the new content, whole.
 * @param mode permission bits of the new file
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array,
  options: { mode?: number } = {},
): Promise<void> {
  const dir = dirname(path);
  const temporary = join(dir, `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  const file = await open(temporary, "wx", options.mode ?? 0o644);
  try {
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (err) {
    await unlink(temporary).catch(() => {});
    throw err;
  }
  await syncDirectory(dir);
}

/**
 * Creates a file that must not exist yet, synced before it returns.
 * @throws a system error with code `EEXIST` when it exists
 */
export async function createFileExclusive(
  path: string,
  data: string | Uint8Array,
  options: { mode?: number } = {},
): Promise<void> {
  const file = await open(path, "wx", options.mode ?? 0o600);
  try {
    await file.writeFile(data);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncDirectory(dirname(path));
}

/**
 * Reads a file somebody else may have prepared: it must be a regular file (no link is followed in the last
 * component, no pipe or device is opened for waiting) and no longer than `maxBytes`.
 * @throws {InputError} not a regular file, or too long
 * @throws a system error, such as `ENOENT`
 */
export async function readRegularFile(path: string, maxBytes: number): Promise<Uint8Array> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (err) {
    if (errorCode(err) === "ELOOP") throw new InputError(`${basename(path)} is a symbolic link`);
    throw err;
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new InputError(`${basename(path)} is not a regular file`);
    if (stat.size > maxBytes) throw new InputError(`${basename(path)} is larger than ${maxBytes} bytes`);
    // One byte more than allowed is asked for: the file may grow after stat.
    const buffer = Buffer.alloc(maxBytes < 2 ** 20 ? maxBytes + 1 : Math.min(maxBytes, stat.size) + 1);
    let length = 0;
    while (length < buffer.length) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length === buffer.length) throw new InputError(`${basename(path)} is larger than ${maxBytes} bytes`);
    return new Uint8Array(buffer.subarray(0, length));
  } finally {
    await file.close();
  }
}

/** As {@link readRegularFile}, but `undefined` where there is no such file. */
export async function readRegularFileIfAny(path: string, maxBytes: number): Promise<Uint8Array | undefined> {
  try {
    return await readRegularFile(path, maxBytes);
  } catch (err) {
    if (errorCode(err) === "ENOENT") return undefined;
    throw err;
  }
}
