import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { InputError, Serial, errorMessage, readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { z } from "zod";
import { ALIVE, StoreError } from "./store.js";
import type { Change, Store, StoreEntry } from "./store.js";
import { Table } from "./table.js";

/** Some 65,536 instances with all their records, twice. */
const MAX_FILE_BYTES = 128 * 2 ** 20;
/** The file is written anew when it has more than twice what is in it, and this. */
const SLACK_BYTES = 2 ** 20;

const HEADER = JSON.stringify({ format: "dstack-tproxy-store", version: 1 });
/** One change: values by key, null deletes. */
const JournalLine = z.record(z.string(), z.string().nullable());

/**
 * {@link Store} for one node: a journal with one line a change, each on disk before it counts. What a crash leaves of
 * an unfinished last line was never acknowledged and is dropped.
 */
export class FileStore implements Store {
  readonly lease = new AbortController().signal;
  readonly trouble = undefined;
  readonly #table = new Table();
  readonly #changes = new Serial();
  /** In memory only: a lease of ours ends with this process. */
  readonly #leased = new Set<string>();
  #revision = 0;
  #file: FileHandle | undefined;
  #fileBytes = 0;
  #liveBytes = 0;

  private constructor(
    readonly path: string,
    readonly node: string,
  ) {}

  /**
   * @throws {InputError} a file that is no journal, or is damaged before its last line, named with the line: it is
   * never skipped, because its records hold addresses
   */
  static async open(path: string, node: string): Promise<FileStore> {
    const store = new FileStore(path, node);
    store.#load(Buffer.from((await readRegularFileIfAny(path, MAX_FILE_BYTES)) ?? []).toString("utf8"));
    await store.#rewrite();
    await store.commit({ set: { [ALIVE + node]: "" }, leased: true });
    return store;
  }

  /** Nobody else writes. */
  get asOf(): number {
    return Date.now();
  }

  get(key: string): StoreEntry | undefined {
    return this.#table.get(key);
  }

  list(prefix: string): Iterable<readonly [string, StoreEntry]> {
    return this.#table.list(prefix);
  }

  onChange(listener: (keys: ReadonlySet<string>) => void): void {
    this.#table.onChange(listener);
  }

  async commit({ expect = {}, set, leased = false }: Change): Promise<boolean> {
    return this.#changes.run(async () => {
      if (!this.#table.matches(expect)) return false;
      if (!leased) await this.#append(set);
      for (const key of Object.keys(set)) {
        if (leased) this.#leased.add(key);
        else this.#leased.delete(key);
      }
      this.#take(set);
      return true;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#changes.run(async () => this.#file?.close());
  }

  #load(text: string): void {
    const lines = text.split("\n");
    // What stands behind the last line break is an unfinished line, or nothing.
    lines.pop();
    if (lines.length > 0 && lines[0] !== HEADER)
      throw new InputError(`${this.path} is not a store of tproxy`);
    for (const [index, line] of lines.slice(1).entries()) {
      try {
        const set = JournalLine.parse(JSON.parse(line));
        this.#take(Object.fromEntries(Object.entries(set).map(([key, value]) => [key, value ?? undefined])));
      } catch (err) {
        throw new InputError(`${this.path}, line ${index + 2}: ${errorMessage(err)}`, { cause: err });
      }
    }
  }

  #take(set: Change["set"]): void {
    this.#revision += 1;
    const revision = this.#revision;
    this.#table.apply(
      Object.entries(set).map(([key, value]) => [key, value === undefined ? undefined : { value, revision }]),
    );
  }

  async #append(set: Change["set"]): Promise<void> {
    const line = journalLine(Object.entries(set));
    try {
      if (this.#fileBytes > 2 * this.#liveBytes + SLACK_BYTES) await this.#rewrite();
      this.#file ??= await this.#reopen();
      await this.#file.appendFile(line);
      await this.#file.datasync();
      this.#fileBytes += Buffer.byteLength(line);
    } catch (err) {
      // Half of the line may be there: the next change starts from a whole file.
      await this.#file?.close().catch(() => {});
      this.#file = undefined;
      throw new StoreError("unavailable", `writing ${this.path}: ${errorMessage(err)}`, {}, { cause: err });
    }
  }

  async #reopen(): Promise<FileHandle> {
    await this.#rewrite();
    if (this.#file === undefined) throw new Error("the store's file was not opened");
    return this.#file;
  }

  async #rewrite(): Promise<void> {
    const kept = [...this.#table.list("")].filter(([key]) => !this.#leased.has(key));
    const text = [`${HEADER}\n`, ...kept.map(([key, { value }]) => journalLine([[key, value]]))].join("");
    await writeFileAtomic(this.path, text, { mode: 0o600 });
    await this.#file?.close();
    this.#file = await open(this.path, "a");
    this.#liveBytes = this.#fileBytes = Buffer.byteLength(text);
  }
}

function journalLine(set: readonly (readonly [string, string | undefined])[]): string {
  return `${JSON.stringify(Object.fromEntries(set.map(([key, value]) => [key, value ?? null])))}\n`;
}
