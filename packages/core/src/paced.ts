import { sleep } from "./time.js";

/**
 * Does one work for many callers: those that come while it is done, or while it rests after that, share the next time. It
 * takes no more than a share of the time, however many callers there are.
 */
export class Paced {
  #next: Promise<void> | undefined;
  #rested: Promise<unknown> = Promise.resolve();

  /**
   * @param share of the time that the work may take, above 0
   * @param longestRestMs the work rests no longer than this
   */
  constructor(
    readonly work: () => Promise<void> | void,
    readonly share: number,
    readonly longestRestMs = 1_000,
  ) {}

  /** Settles with a time of the work that began after the call. */
  run(): Promise<void> {
    this.#next ??= this.#rested.then(() => this.#begin());
    return this.#next;
  }

  async #begin(): Promise<void> {
    this.#next = undefined;
    const began = performance.now();
    const done = (async () => this.work())();
    const rest = (): Promise<void> =>
      sleep(Math.min((performance.now() - began) * (1 / this.share - 1), this.longestRestMs));
    this.#rested = done.then(rest, rest);
    await done;
  }
}
