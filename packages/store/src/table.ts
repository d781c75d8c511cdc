import type { StoreEntry } from "./store.js";

/** The records as one node knows them, and who wants to hear of changes. */
export class Table {
  readonly #entries = new Map<string, StoreEntry>();
  readonly #listeners: ((keys: ReadonlySet<string>) => void)[] = [];

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): StoreEntry | undefined {
    return this.#entries.get(key);
  }

  *list(prefix: string): Iterable<readonly [string, StoreEntry]> {
    for (const entry of this.#entries) if (entry[0].startsWith(prefix)) yield entry;
  }

  onChange(listener: (keys: ReadonlySet<string>) => void): void {
    this.#listeners.push(listener);
  }

  /** Whether each record still has its revision; 0 stands for no record. */
  matches(expected: Readonly<Record<string, number>>): boolean {
    return Object.entries(expected).every(([key, revision]) => (this.get(key)?.revision ?? 0) === revision);
  }

  /** Takes over records; undefined deletes. What is the same already is no change. */
  apply(changes: Iterable<readonly [string, StoreEntry | undefined]>): void {
    const changed = new Set<string>();
    for (const [key, entry] of changes) {
      // Both: another etcd, or one of an earlier state, gives its revisions anew.
      const before = this.#entries.get(key);
      if (before?.revision === entry?.revision && before?.value === entry?.value) continue;
      if (entry === undefined) this.#entries.delete(key);
      else this.#entries.set(key, entry);
      changed.add(key);
    }
    if (changed.size > 0) for (const listener of this.#listeners) listener(changed);
  }

  /** Takes over everything at once. */
  replace(entries: ReadonlyMap<string, StoreEntry>): void {
    const gone = [...this.#entries.keys()].filter((key) => !entries.has(key));
    this.apply([...gone.map((key) => [key, undefined] as const), ...entries]);
  }
}
