import { randomBytes } from "node:crypto";
import { stat, unlink, writeFile } from "node:fs/promises";
import { errorCode } from "@dstack/core";
import { ChainedLog, ChainedLogError } from "@dstack/daemon";
import type { ChainHead, ChainLink, LogPage, Logger } from "@dstack/daemon";
import { z } from "zod";
import type { Clock } from "../clock.js";

const Entry = z.strictObject({
  seq: z.int().min(0),
  prev: z.string().regex(/^[0-9a-f]{64}$/),
  at: z.iso.datetime(),
  who: z.string(),
  role: z.string(),
  /** IP address of the caller. */
  from: z.string(),
  request: z.string(),
  method: z.string(),
  /** The VM it is about, its name for a new one; empty where it is about none. */
  vm: z.string(),
  outcome: z.enum(["asked", "done", "refused", "failed"]),
  message: z.string().exactOptional(),
  /** The id a method answered. */
  result: z.string().exactOptional(),
});
type LoggedEntry = z.output<typeof Entry>;

/** What an entry says beyond its place in the chain. */
export type AuditEntry = Omit<LoggedEntry, keyof ChainLink>;

/** Room for some two hundred lines. */
const RESERVE_BYTES = 64 * 1024;

function isDiskFull(err: unknown): boolean {
  const code = errorCode(err instanceof ChainedLogError ? err.cause : err);
  return code === "ENOSPC" || code === "EDQUOT";
}

/**
 * Every change anyone asked for: append-only, hash-chained.
 *
 * What cannot be logged is not done, and a guest may fill the host's disk: a file beside the log holds some room
 * back, so that the operator can still stop and remove that guest's VM.
 */
export class AuditLog implements AsyncDisposable {
  private constructor(
    private readonly log: ChainedLog<LoggedEntry>,
    private readonly reserve: string,
  ) {}

  /**
   * Opens it and checks its chain.
   * @throws {ChainedLogError} somebody changed it
   */
  static async open(path: string, clock: Clock, log: Logger): Promise<AuditLog> {
    const chained = await ChainedLog.open(path, {
      context: "dstack-teepod-audit-v1:",
      parse: (value) => Entry.parse(value),
      now: () => clock.now(),
      onTorn: ({ bytes }) => log.warn({ bytes }, "the audit log's last line was torn by a crash and cut off"),
    });
    const reserve = `${path}.reserve`;
    await holdRoom(reserve);
    return new AuditLog(chained, reserve);
  }

  /** The last entry's place and hash. */
  get head(): ChainHead {
    return this.log.head;
  }

  /** Resolves when the line is on the disk. */
  async append(entry: AuditEntry): Promise<void> {
    try {
      await this.log.append(entry);
    } catch (err) {
      if (!isDiskFull(err)) throw err;
      await unlink(this.reserve).catch(() => Promise.reject(err)); // used up already
      await this.log.append(entry);
    }
  }

  /**
   * Entries, newest first.
   * @param before the end of the page in the file, `older` of the page before it; the whole log unless given
   */
  read(limit: number, before?: number): Promise<LogPage<LoggedEntry>> {
    return this.log.page(limit, before);
  }

  /** The file's bytes, for whoever checks the chain. */
  bytes(): AsyncGenerator<Buffer> {
    return this.log.bytes();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.log[Symbol.asyncDispose]();
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
