import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { copyFile, open, rename, rm, stat, truncate } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { errorCode, sleep } from "@dstack/core";
import { SerialTimes } from "./serial-times.js";

export interface LogLimits {
  /** Size at which the serial log is rotated. */
  readonly maxBytes: number;
  /** Rotated logs that are kept. */
  readonly backups: number;
}

const FOLLOW_EVERY_MS = 200;
const CHUNK_BYTES = 64 * 1024;
/** How far back the beginning of a line is looked for. */
const MAX_LINE_LOOK_BYTES = 4096;

async function found(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (err) {
    if (errorCode(err) === "ENOENT") return undefined;
    throw err;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await found(path))?.size;
}

/** The console output of one VM: `serial.log`, older output in `serial.log.1`, `.2`, … */
export class SerialLog {
  readonly path: string;
  readonly #times: SerialTimes;

  constructor(
    dir: string,
    readonly limits: LogLimits,
  ) {
    this.path = join(dir, "serial.log");
    this.#times = new SerialTimes(join(dir, "serial.times"));
  }

  #backup(n: number): string {
    return `${this.path}.${n}`;
  }

  async #shift(): Promise<void> {
    await rm(this.#backup(this.limits.backups), { force: true });
    for (let n = this.limits.backups - 1; n >= 1; n--) {
      await rename(this.#backup(n), this.#backup(n + 1)).catch((err: unknown) => {
        if (errorCode(err) !== "ENOENT") throw err;
      });
    }
  }

  /** A boot starts a log of its own. Only while no VM writes to it. */
  async startNew(): Promise<void> {
    if (((await sizeOf(this.path)) ?? 0) === 0) return;
    await this.#times.reset();
    await this.#shift();
    if (this.limits.backups > 0) await rename(this.path, this.#backup(1));
    else await rm(this.path);
  }

  /**
   * Rotates the log of a running VM if it has grown too long. QEMU keeps the file open for appending, so it is copied
   * and emptied; what is written between the two is lost.
   */
  async rotateIfLong(): Promise<boolean> {
    if (((await sizeOf(this.path)) ?? 0) <= this.limits.maxBytes) return false;
    await this.#shift();
    if (this.limits.backups > 0) await copyFile(this.path, this.#backup(1));
    await truncate(this.path);
    await this.#times.reset();
    return true;
  }

  /** Notes when the log had how many bytes, for `since`. */
  async note(now: Date): Promise<void> {
    await this.#times.note((await sizeOf(this.path)) ?? 0, now);
  }

  /** The last `maxBytes` of the current boot's output. */
  async tail(maxBytes: number): Promise<string> {
    const size = await sizeOf(this.path);
    if (size === undefined) return "";
    const parts: Buffer[] = [];
    for await (const chunk of readRange(this.path, Math.max(0, size - maxBytes), size)) parts.push(chunk);
    return Buffer.concat(parts).toString("utf8");
  }

  /**
   * The output in order, oldest first.
   * @param options.lines only that many last lines
   * @param options.since nothing that was there before then, as exactly as it was noted; whole lines
   * @param options.follow goes on with what is written until the signal aborts
   */
  async *read(options: {
    lines?: number;
    since?: Date;
    follow: boolean;
    signal: AbortSignal;
  }): AsyncGenerator<Buffer> {
    const { lines, since, follow, signal } = options;
    const current = await found(this.path);
    const size = current?.size ?? 0;
    const from =
      since === undefined ? 0 : await this.#lineAt(Math.min(await this.#times.sizeBefore(since), size));
    const files: LogPart[] = [{ path: this.path, from, to: size }];
    // Something older than `since` in this log: all earlier logs are older still.
    for (let n = 1; n <= this.limits.backups && from === 0; n++) {
      const older = await found(this.#backup(n));
      if (older !== undefined && (since === undefined || older.mtime >= since))
        files.push({ path: this.#backup(n), from: 0, to: older.size });
    }
    yield* readFiles(await startOfLines(files, lines), signal);
    if (follow) yield* this.#follow(current, signal);
  }

  /** Where the line begins that a place is in. */
  async #lineAt(place: number): Promise<number> {
    const start = Math.max(0, place - MAX_LINE_LOOK_BYTES);
    const parts: Buffer[] = [];
    for await (const chunk of readRange(this.path, start, place)) parts.push(chunk);
    const end = Buffer.concat(parts).lastIndexOf(10);
    return end < 0 ? start : start + end + 1;
  }

  async *#follow(start: Stats | undefined, signal: AbortSignal): AsyncGenerator<Buffer> {
    let position = start?.size ?? 0;
    let inode = start?.ino;
    while (!signal.aborted) {
      const now = await found(this.path);
      const size = now?.size ?? 0;
      // A new boot has a new file; a rotated file is shorter than before.
      if (now?.ino !== inode || size < position) position = 0;
      inode = now?.ino;
      if (size > position) {
        yield* readRange(this.path, position, size, signal);
        position = size;
      } else {
        await sleep(FOLLOW_EVERY_MS, signal).catch(() => {});
      }
    }
  }
}

interface LogPart {
  readonly path: string;
  readonly from: number;
  readonly to: number;
}

/** Where the last `lines` lines start in files given newest first. All of them without `lines`. */
async function startOfLines(files: readonly LogPart[], lines: number | undefined): Promise<LogPart[]> {
  const parts: LogPart[] = [];
  let missing = lines ?? Infinity;
  for (const part of files) {
    if (missing <= 0) break;
    if (lines === undefined) {
      parts.unshift(part);
      continue;
    }
    const start = await findLineStart(part.path, part.to, missing);
    parts.unshift({ ...part, from: Math.max(part.from, start.from) });
    missing -= start.lines;
  }
  return parts;
}

async function findLineStart(
  path: string,
  size: number,
  lines: number,
): Promise<{ from: number; lines: number }> {
  let seen = 0;
  let end = size;
  while (end > 0) {
    const start = Math.max(0, end - CHUNK_BYTES);
    const parts: Buffer[] = [];
    for await (const chunk of readRange(path, start, end)) parts.push(chunk);
    const bytes = Buffer.concat(parts);
    for (let at = bytes.length - 1; at >= 0; at--) {
      if (bytes[at] !== 10) continue;
      // The line end at the very end closes the last line; it does not start another.
      if (start + at === size - 1) continue;
      if (++seen === lines) return { from: start + at + 1, lines: seen };
    }
    end = start;
  }
  return { from: 0, lines: size > 0 ? seen + 1 : 0 };
}

async function* readFiles(parts: readonly LogPart[], signal: AbortSignal): AsyncGenerator<Buffer> {
  for (const { path, from, to } of parts) yield* readRange(path, from, to, signal);
}

/** Bytes of a file, in chunks, each a buffer of its own. Ends early where the file does. */
async function* readRange(
  path: string,
  from: number,
  to: number,
  signal?: AbortSignal,
): AsyncGenerator<Buffer> {
  if (from >= to) return;
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (err) {
    if (errorCode(err) === "ENOENT") return;
    throw err;
  }
  try {
    let position = from;
    while (position < to && signal?.aborted !== true) {
      const { bytesRead, buffer } = await file.read(
        Buffer.allocUnsafe(Math.min(CHUNK_BYTES, to - position)),
        0,
        Math.min(CHUNK_BYTES, to - position),
        position,
      );
      if (bytesRead === 0) return;
      position += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
