import { appendFile, rm } from "node:fs/promises";
import { readRegularFileIfAny, writeFileAtomic } from "@dstack/core";

/** By then the log had this many bytes. */
interface Mark {
  readonly at: number;
  readonly size: number;
}

/** How exactly a time is found again. */
const MARK_EVERY_MS = 5_000;
/** Beyond it every other mark goes: a VM that writes for months has rougher ones, not more. */
const MAX_MARKS = 4_096;
const MAX_FILE_BYTES = 2 * MAX_MARKS * 32;

/**
 * When a console log had how many bytes. QEMU writes the log and no times into it, so what is there is looked at
 * now and then, and written down in a file beside it: lines of milliseconds since 1970 and bytes.
 */
export class SerialTimes {
  #marks: Mark[] | undefined;

  constructor(readonly path: string) {}

  /** Notes how long the log is now. */
  async note(size: number, now: Date): Promise<void> {
    const marks = await this.#load();
    const last = marks.at(-1);
    const mark = { at: now.getTime(), size };
    if (last !== undefined && size < last.size) await this.reset();
    else if (last !== undefined && (size === last.size || mark.at - last.at < MARK_EVERY_MS)) return;
    if (size === 0) return;
    const kept = await this.#load();
    kept.push(mark);
    if (kept.length <= MAX_MARKS) {
      await appendFile(this.path, lineOf(mark), { mode: 0o600 });
      return;
    }
    this.#marks = kept.filter((_, i) => i % 2 === 1);
    await writeFileAtomic(this.path, this.#marks.map(lineOf).join(""), { mode: 0o600 });
  }

  /** The log begins anew. */
  async reset(): Promise<void> {
    this.#marks = [];
    await rm(this.path, { force: true });
  }

  /** Bytes of the log that were there before a time: what comes after them may be newer. */
  async sizeBefore(time: Date): Promise<number> {
    return (await this.#load()).findLast((mark) => mark.at < time.getTime())?.size ?? 0;
  }

  async #load(): Promise<Mark[]> {
    if (this.#marks === undefined) {
      const bytes = await readRegularFileIfAny(this.path, MAX_FILE_BYTES);
      const text = bytes === undefined ? "" : new TextDecoder().decode(bytes);
      // A line that a crash cut off is none.
      this.#marks = [...text.matchAll(/^(\d{1,15}) (\d{1,15})\n/gm)].map((match) => ({
        at: Number(match[1]),
        size: Number(match[2]),
      }));
    }
    return this.#marks;
  }
}

const lineOf = ({ at, size }: Mark): string => `${at} ${size}\n`;
