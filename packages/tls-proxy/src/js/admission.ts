/** Counts what is open by key and refuses above a limit. Keys without anything open take no memory. */
export class Admission {
  readonly #open = new Map<string, number>();

  constructor(readonly limit: number) {}

  /** @returns what to call when it is over, or undefined when there are too many */
  enter(key: string): (() => void) | undefined {
    const count = this.#open.get(key) ?? 0;
    if (count >= this.limit) return undefined;
    this.#open.set(key, count + 1);
    let left = false;
    return () => {
      if (left) return;
      left = true;
      const now = (this.#open.get(key) ?? 1) - 1;
      if (now === 0) this.#open.delete(key);
      else this.#open.set(key, now);
    };
  }

  /** A copy of the counts. */
  counts(): ReadonlyMap<string, number> {
    return new Map(this.#open);
  }
}
