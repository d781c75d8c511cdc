import { constants } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { Serial, errorMessage, sameBytes } from "@dstack/core";
import { CertLogError, EMPTY_CHAIN, MAX_LINE_BYTES, follow, jsonOf, lineOf } from "./chain.js";
import type { CertLogEntry, ChainHead } from "./chain.js";
import { LogIndex } from "./log-index.js";
import { leafHash } from "@dstack/ct";
import type { MerkleTree } from "@dstack/ct";

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

export interface CertLogOptions {
  /** Told when the last line was torn by a crash and cut off. It was never acknowledged. */
  readonly onTorn?: (cut: { bytes: number; after: ChainHead }) => void;
  /** Opens the file; for tests that make writing fail. */
  readonly openFile?: (path: string) => Promise<LogFile>;
}

/** What an entry says beyond its place in the chain. */
export type NewEntry = Omit<CertLogEntry, "seq" | "prev" | "at">;

async function openLogFile(path: string): Promise<LogFile> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
  const file = await open(path, flags, 0o600);
  try {
    if (!(await file.stat()).isFile())
      throw new CertLogError("failed", `issue log ${path} is not a regular file`);
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

/**
 * The append-only, hash-chained log of issued certificates (K5). One process writes it. An entry is on disk before
 * {@link append} returns, so that no certificate leaves without its entry.
 */
export class CertLog implements AsyncDisposable {
  readonly #file: LogFile;
  readonly #serial = new Serial();
  readonly #index: LogIndex;
  #head: ChainHead;
  #size: number;
  #failure: CertLogError | undefined;

  private constructor(
    readonly path: string,
    file: LogFile,
    end: { head: ChainHead; size: number; index: LogIndex },
  ) {
    this.#file = file;
    this.#index = end.index;
    this.#head = end.head;
    this.#size = end.size;
  }

  /**
   * Opens a log and checks its whole chain. A last line without its newline was being written when the process died:
   * it is cut off.
   * @throws {CertLogError} `broken_chain`: an entry was changed, removed or added by somebody else
   */
  static async open(path: string, options: CertLogOptions = {}): Promise<CertLog> {
    const file = await (options.openFile ?? openLogFile)(path);
    try {
      const { head, wholeBytes, tornBytes, index } = await readChain(file, path);
      if (tornBytes > 0) {
        await file.truncate(wholeBytes);
        await file.datasync();
        options.onTorn?.({ bytes: tornBytes, after: head });
      }
      return new CertLog(path, file, { head, size: wholeBytes, index });
    } catch (err) {
      await file.close();
      throw err;
    }
  }

  /** The last entry's place and hash. */
  get head(): ChainHead {
    return this.#head;
  }

  /** Tree over the entries, for proofs. */
  get tree(): MerkleTree {
    return this.#index.tree;
  }

  /**
   * Finds the entry of a certificate.
   * @param certificateSha256 of its DER
   * @throws {CertLogError} `broken_chain`: the file no longer says what was written
   */
  async find(certificateSha256: Uint8Array): Promise<{ seq: number; json: string } | undefined> {
    const at = this.#index.find(certificateSha256);
    if (at === undefined) return undefined;
    const buffer = new Uint8Array(at.bytes);
    await this.#file.read(buffer, 0, at.bytes, at.offset);
    const json = jsonOf(Buffer.from(buffer).toString("utf8"));
    if (!sameBytes(leafHash(json), at.leaf)) {
      throw new CertLogError("broken_chain", `issue log ${this.path}: entry ${at.seq} was changed`);
    }
    return { seq: at.seq, json };
  }

  /** @throws {CertLogError} when the log can take no more entries until the KMS is started again */
  assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Appends an entry and waits until it is on disk.
   * @throws {CertLogError} it is not: the certificate must not be given out
   */
  append(entry: NewEntry): Promise<CertLogEntry> {
    return this.#serial.run(() => this.#append(entry));
  }

  async #append(fields: NewEntry): Promise<CertLogEntry> {
    this.assertUsable();
    const { size } = await this.#file.stat();
    if (size !== this.#size) {
      // Two writers would fork the chain: stop, rather than make a log that does not open again.
      this.#fail("foreign_writer", `issue log ${this.path} was written by another process`);
    }
    const entry: CertLogEntry = {
      seq: this.#head.seq + 1,
      prev: this.#head.hash,
      at: new Date().toISOString(),
      ...fields,
    };
    const { line, hash } = lineOf(entry);
    if (Buffer.byteLength(line) > MAX_LINE_BYTES)
      throw new CertLogError("write_failed", "issue log entry is too long");
    try {
      await this.#file.appendFile(line);
    } catch (err) {
      await this.#undo();
      throw new CertLogError(
        "write_failed",
        `issue log ${this.path} cannot be written: ${errorMessage(err)}`,
        {},
        { cause: err },
      );
    }
    try {
      await this.#file.datasync();
    } catch (err) {
      // After a failed sync the kernel may have dropped the pages and call the next sync a success.
      this.#fail("failed", `issue log ${this.path} cannot be synced: ${errorMessage(err)}`, err);
    }
    this.#head = { seq: entry.seq, hash };
    this.#size += Buffer.byteLength(line);
    this.#index.add(entry, jsonOf(line), Buffer.byteLength(line));
    return entry;
  }

  /** Takes back a half-written line, as when the disk is full. */
  async #undo(): Promise<void> {
    try {
      await this.#file.truncate(this.#size);
      await this.#file.datasync();
    } catch (err) {
      this.#fail("failed", `issue log ${this.path} cannot be repaired: ${errorMessage(err)}`, err);
    }
  }

  #fail(code: "foreign_writer" | "failed", message: string, cause?: unknown): never {
    this.#failure = new CertLogError(code, message, {}, { cause });
    throw this.#failure;
  }

  /** Waits for the entries under way and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#serial.run(() => this.#file.close());
  }
}

/** Reads a log from its beginning, in memory for one line. */
async function readChain(
  file: LogFile,
  path: string,
): Promise<{ head: ChainHead; wholeBytes: number; tornBytes: number; index: LogIndex }> {
  const index = new LogIndex();
  const buffer = new Uint8Array(2 * MAX_LINE_BYTES);
  let head = EMPTY_CHAIN;
  let wholeBytes = 0;
  let held = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, held, buffer.length - held, wholeBytes + held);
    held += bytesRead;
    let start = 0;
    for (;;) {
      const end = buffer.subarray(0, held).indexOf(0x0a, start);
      if (end < 0) break;
      try {
        const line = Buffer.from(buffer.subarray(start, end)).toString("utf8");
        const followed = follow(head, line);
        head = followed.head;
        index.add(followed.entry, jsonOf(line), end + 1 - start);
      } catch (err) {
        if (!(err instanceof CertLogError)) throw err;
        throw new CertLogError("broken_chain", `issue log ${path}: ${err.message}`, err.details, {
          cause: err,
        });
      }
      start = end + 1;
    }
    wholeBytes += start;
    buffer.copyWithin(0, start, held);
    held -= start;
    if (bytesRead === 0) break;
    if (held > MAX_LINE_BYTES) {
      throw new CertLogError("broken_chain", `issue log ${path}: entry ${head.seq + 1} is too long`);
    }
  }
  return { head, wholeBytes, tornBytes: held, index };
}
