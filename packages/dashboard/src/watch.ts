import { EventEmitter, once } from "node:events";

/** What a watcher is told: everything at first, then what changed. */
export type Change<T> =
  | { readonly type: "all"; readonly items: readonly T[] }
  | { readonly type: "item"; readonly item: T }
  | { readonly type: "gone"; readonly id: string };

interface Look<T> {
  /** Looks that began later have a higher one. */
  readonly turn: number;
  readonly items: readonly T[];
  /** JSON of each item by its id. */
  readonly texts: ReadonlyMap<string, string>;
}

/**
 * Looks at things that change without a word, as long as anybody watches, and tells each watcher what is new to it.
 * A slow watcher is told less often, not later and later: nothing waits for it in a queue.
 */
export class Watch<T extends { readonly id: string }> {
  readonly #looked = new EventEmitter().setMaxListeners(0);
  #watchers = 0;
  #turns = 0;
  #stop = new AbortController();
  #latest: Look<T> | undefined;

  constructor(
    readonly take: () => Promise<readonly T[]>,
    readonly clock: { sleep(ms: number, signal: AbortSignal): Promise<void> },
    readonly everyMs: number,
    readonly onError: (err: unknown) => void,
  ) {}

  /** What is new after each look, often nothing. Ends, without a word, when the signal aborts. */
  async *follow(signal: AbortSignal): AsyncGenerator<readonly Change<T>[]> {
    if (this.#watchers++ === 0) void this.#run(this.#stop.signal);
    try {
      let told = await this.#look();
      yield [{ type: "all", items: told.items }];
      while (!signal.aborted) {
        // The latest that all have may be older than a newcomer's own first look.
        if ((this.#latest?.turn ?? 0) <= told.turn)
          await once(this.#looked, "look", { signal }).catch(() => {});
        const latest = this.#latest;
        if (latest === undefined || latest.turn <= told.turn) continue;
        yield changes(told, latest);
        told = latest;
      }
    } finally {
      if (--this.#watchers === 0) {
        this.#stop.abort();
        this.#stop = new AbortController();
        this.#latest = undefined;
      }
    }
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.clock.sleep(this.everyMs, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        const latest = await this.#look();
        if (signal.aborted) return;
        this.#latest = latest;
        this.#looked.emit("look");
      } catch (err) {
        this.onError(err);
      }
    }
  }

  async #look(): Promise<Look<T>> {
    const turn = ++this.#turns;
    const items = await this.take();
    return { turn, items, texts: new Map(items.map((item) => [item.id, JSON.stringify(item)])) };
  }
}

function changes<T extends { readonly id: string }>(before: Look<T>, now: Look<T>): Change<T>[] {
  const changed = now.items.filter(({ id }) => before.texts.get(id) !== now.texts.get(id));
  const gone = [...before.texts.keys()].filter((id) => !now.texts.has(id));
  return [
    ...changed.map((item) => ({ type: "item", item }) as const),
    ...gone.map((id) => ({ type: "gone", id }) as const),
  ];
}
