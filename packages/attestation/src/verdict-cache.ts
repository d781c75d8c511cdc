import { hash } from "node:crypto";

/** Longest time a verdict is reused, in seconds, however long its parts are valid. */
export const MAX_VERDICT_AGE_S = 3600;

interface Entry<T> {
  readonly value: T;
  readonly from: number;
  readonly until: number;
}

/**
 * Verdicts over texts, by the digest of the text, for an hour at most; the ones not used longest make room.
 * For results that depend on the text alone: then what comes from here is what reading the text again would give.
 */
export class VerdictCache<T> {
  readonly #entries = new Map<string, Entry<T>>();

  constructor(private readonly maxEntries: number) {}

  get size(): number {
    return this.#entries.size;
  }

  /** @param now Unix seconds; anything that is not a time within the entry's life finds nothing */
  get(key: string, now: number): T | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    // A clock that went back proves nothing about when the entry was made.
    if (!(entry.from <= now && now <= entry.until)) return undefined;
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** @param validUntil Unix seconds, inclusive: the end of the first of its parts */
  put(key: string, value: T, now: number, validUntil: number): void {
    this.#entries.delete(key);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size < this.maxEntries) break;
      this.#entries.delete(oldest);
    }
    this.#entries.set(key, { value, from: now, until: Math.min(validUntil, now + MAX_VERDICT_AGE_S) });
  }
}

/** The digest of some texts: other texts, or the same cut elsewhere, have another. */
export function digestOf(texts: readonly string[]): string {
  const lengths = texts.map((text) => text.length).join(",");
  // UTF-16: in UTF-8 all lone surrogates would look alike.
  return hash("sha256", Buffer.from(`${lengths};${texts.join("")}`, "utf16le"), "hex");
}
