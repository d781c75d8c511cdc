import { Serial, errorMessage } from "@dstack/core";
import { ChainedLogError, MAX_LINE_BYTES, jsonOf, lineOf } from "./chain.js";
import type { ChainFormat, ChainHead, ChainLink } from "./chain.js";
import { openLogFile } from "./log-file.js";
import type { LogFile } from "./log-file.js";
import { readChain } from "./read-chain.js";
import { readPage } from "./read-page.js";
import type { LogPage } from "./read-page.js";

export interface ChainedLogOptions<T extends ChainLink> extends ChainFormat<T> {
  /** Told of every entry: those that are there when the log is opened, and those that are appended. */
  readonly onEntry?: (entry: T, json: string, bytes: number) => void;
  /** Told when the last line was torn by a crash and cut off. It was never acknowledged. */
  readonly onTorn?: (cut: { bytes: number; after: ChainHead }) => void;
  /** What time it is, for `at`. */
  readonly now?: () => Date;
  /** Opens the file; for tests that make writing fail. */
  readonly openFile?: (path: string) => Promise<LogFile>;
}

/**
 * An append-only, hash-chained log. One process writes it. An entry is on disk before {@link append} returns, and none
 * can be changed or taken out later without the chain showing it; only a cut at the end can go unseen, by whoever does
 * not know the head.
 */
export class ChainedLog<T extends ChainLink> implements AsyncDisposable {
  readonly #file: LogFile;
  readonly #options: ChainedLogOptions<T>;
  readonly #serial = new Serial();
  readonly #now: () => Date;
  #head: ChainHead;
  #size: number;
  #failure: ChainedLogError | undefined;

  private constructor(
    readonly path: string,
    file: LogFile,
    options: ChainedLogOptions<T>,
    end: { head: ChainHead; size: number },
  ) {
    this.#file = file;
    this.#options = options;
    this.#now = options.now ?? (() => new Date());
    this.#head = end.head;
    this.#size = end.size;
  }

  /**
   * Opens a log and checks its whole chain. A last line without its newline was being written when the process died:
   * it is cut off.
   * @throws {ChainedLogError} `broken_chain`: an entry was changed, removed or added by somebody else
   */
  static async open<T extends ChainLink>(
    path: string,
    options: ChainedLogOptions<T>,
  ): Promise<ChainedLog<T>> {
    const file = await (options.openFile ?? openLogFile)(path);
    try {
      const { head, wholeBytes, tornBytes } = await readChain(file, path, options, (...entry) =>
        options.onEntry?.(...entry),
      );
      if (tornBytes > 0) {
        await file.truncate(wholeBytes);
        await file.datasync();
        options.onTorn?.({ bytes: tornBytes, after: head });
      }
      return new ChainedLog(path, file, options, { head, size: wholeBytes });
    } catch (err) {
      await file.close();
      throw err;
    }
  }

  /** The last entry's place and hash. */
  get head(): ChainHead {
    return this.#head;
  }

  /** @throws {ChainedLogError} when the log can take no more entries until it is opened again */
  assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** The text of an entry, as the file has it now. @param at where its line begins and how long it is, in bytes */
  async readEntry(at: { readonly offset: number; readonly bytes: number }): Promise<string> {
    const buffer = new Uint8Array(at.bytes);
    await this.#file.read(buffer, 0, at.bytes, at.offset);
    return jsonOf(Buffer.from(buffer).toString("utf8"));
  }

  /**
   * Entries, newest first.
   * @param before where the page ends in the file, `older` of the page before; the whole log unless given
   */
  page(limit: number, before = this.#size): Promise<LogPage<T>> {
    return readPage(this.#file, this.#options.parse, Math.min(before, this.#size), limit);
  }

  /**
   * Reads the file as it is now and checks its whole chain, up to the head we know.
   * @throws {ChainedLogError} `broken_chain`: somebody changed it, cut it or added to it since it was opened
   */
  check(): Promise<void> {
    return this.#serial.run(async () => {
      const { head } = await readChain(this.#file, this.path, this.#options, () => {});
      if (head.hash === this.#head.hash) return;
      const why = `ends with entry ${head.seq}, not with the last one we wrote`;
      throw new ChainedLogError("broken_chain", `log ${this.path} ${why}`, { seq: head.seq });
    });
  }

  /** The file's bytes as of now, whole lines in chunks: whoever has them can check the chain. */
  async *bytes(): AsyncGenerator<Buffer> {
    const end = this.#size;
    for (let at = 0; at < end;) {
      const buffer = Buffer.allocUnsafe(Math.min(MAX_LINE_BYTES, end - at));
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  /**
   * Appends an entry and waits until it is on disk.
   * @throws {ChainedLogError} it is not: what it is about must not be done
   */
  append(facts: Omit<T, keyof ChainLink>): Promise<T> {
    return this.#serial.run(() => this.#append(facts));
  }

  async #append(facts: Omit<T, keyof ChainLink>): Promise<T> {
    this.assertUsable();
    const { size } = await this.#file.stat();
    if (size !== this.#size) {
      // Two writers would fork the chain: stop, rather than make a log that does not open again.
      this.#fail("foreign_writer", `log ${this.path} was written by another process`);
    }
    const link: ChainLink = { seq: this.#head.seq + 1, prev: this.#head.hash, at: this.#now().toISOString() };
    const entry = this.#options.parse({ ...link, ...facts });
    const { line, hash } = lineOf(this.#options.context, entry);
    const bytes = Buffer.byteLength(line);
    if (bytes > MAX_LINE_BYTES) throw new ChainedLogError("write_failed", "log entry is too long");
    try {
      await this.#file.appendFile(line);
    } catch (err) {
      await this.#undo();
      throw new ChainedLogError(
        "write_failed",
        `log ${this.path} cannot be written: ${errorMessage(err)}`,
        {},
        { cause: err },
      );
    }
    try {
      await this.#file.datasync();
    } catch (err) {
      // After a failed sync the kernel may have dropped the pages and call the next sync a success.
      this.#fail("failed", `log ${this.path} cannot be synced: ${errorMessage(err)}`, err);
    }
    this.#head = { seq: entry.seq, hash };
    this.#size += bytes;
    this.#options.onEntry?.(entry, jsonOf(line), bytes);
    return entry;
  }

  /** Takes back a half-written line, as when the disk is full. */
  async #undo(): Promise<void> {
    try {
      await this.#file.truncate(this.#size);
      await this.#file.datasync();
    } catch (err) {
      this.#fail("failed", `log ${this.path} cannot be repaired: ${errorMessage(err)}`, err);
    }
  }

  #fail(code: "foreign_writer" | "failed", message: string, cause?: unknown): never {
    this.#failure = new ChainedLogError(code, message, {}, { cause });
    throw this.#failure;
  }

  /** Waits for the entries under way and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#serial.run(() => this.#file.close());
  }
}
