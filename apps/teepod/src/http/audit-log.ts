import { randomBytes } from "node:crypto";
import { open, stat, unlink, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { Serial, errorCode } from "@dstack/core";
import type { Clock } from "../clock.js";
import { readEntriesBefore } from "./audit-page.js";
import type { AuditPage } from "./audit-page.js";

export interface AuditEntry {
  readonly who: string;
  readonly role: string;
  /** IP address of the caller. */
  readonly from: string;
  readonly request: string;
  readonly method: string;
  /** The VM it is about, its name for a new one; empty where it is about none. */
  readonly vm: string;
  readonly outcome: "asked" | "done" | "refused" | "failed";
  readonly message?: string;
  /** The id a method answered. */
  readonly result?: string;
}

/** Room for some two hundred lines. */
const RESERVE_BYTES = 64 * 1024;

function isDiskFull(err: unknown): boolean {
  const code = errorCode(err);
  return code === "ENOSPC" || code === "EDQUOT";
}

/**
 * Every change anyone asked for, one JSON object a line, only ever appended to.
 *
 * What cannot be logged is not done, and a guest may fill the host's disk: a file beside the log holds some room
 * back, so that the operator can still stop and remove that guest's VM.
 */
export class AuditLog implements AsyncDisposable {
  readonly #writes = new Serial();
  /** The last line lacks its end: a teepod was killed in the middle of it. */
  #torn: boolean;

  private constructor(
    readonly file: FileHandle,
    readonly reserve: string,
    readonly clock: Clock,
    torn: boolean,
  ) {
    this.#torn = torn;
  }

  static async open(path: string, clock: Clock): Promise<AuditLog> {
    const file = await open(path, "a+", 0o600);
    const { size } = await file.stat();
    const last = Buffer.alloc(1, "\n");
    if (size > 0) await file.read(last, 0, 1, size - 1);
    const reserve = `${path}.reserve`;
    await holdRoom(reserve);
    return new AuditLog(file, reserve, clock, last.toString() !== "\n");
  }

  /** Resolves when the line is on the disk. */
  async append(entry: AuditEntry): Promise<void> {
    const line = `${JSON.stringify({ at: this.clock.now().toISOString(), ...entry })}\n`;
    await this.#writes.run(async () => {
      try {
        await this.#write(line);
      } catch (err) {
        if (!isDiskFull(err)) throw err;
        await unlink(this.reserve).catch(() => Promise.reject(err)); // used up already
        await this.#write(line);
      }
    });
  }

  /**
   * Entries, newest first.
   * @param before the end of the page in the file, `older` of the page before it; the whole log unless given
   */
  async read(limit: number, before?: number): Promise<AuditPage> {
    const { size } = await this.file.stat();
    return readEntriesBefore(this.file, Math.min(before ?? size, size), limit);
  }

  async #write(line: string): Promise<void> {
    const { size } = await this.file.stat();
    try {
      await this.file.appendFile(this.#torn ? `\n${line}` : line);
      await this.file.datasync();
    } catch (err) {
      await this.file.truncate(size); // half a line says nothing
      throw err;
    }
    this.#torn = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writes.run(() => this.file.close());
  }
}

/** Random bytes, for a file system that compresses or leaves holes holds nothing back for zeros. */
async function holdRoom(path: string): Promise<void> {
  try {
    if ((await stat(path)).size >= RESERVE_BYTES) return;
  } catch (err) {
    if (errorCode(err) !== "ENOENT") throw err;
  }
  try {
    await writeFile(path, randomBytes(RESERVE_BYTES), { mode: 0o600 });
  } catch (err) {
    // The disk is full already; the next start tries again.
    if (!isDiskFull(err)) throw err;
    await unlink(path);
  }
}
