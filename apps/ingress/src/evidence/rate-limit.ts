/** So many at once, and one more each `refillMs`: a bucket of tokens. Times are those of one steady clock, ms. */
export class RateLimit {
  #tokens: number;
  #filledAt: number | undefined;

  constructor(
    private readonly capacity: number,
    private readonly refillMs: number,
  ) {
    this.#tokens = capacity;
  }

  /** @returns 0 when it may go on, else after how many ms it may be tried again */
  take(now: number): number {
    const since = this.#filledAt === undefined ? 0 : now - this.#filledAt;
    this.#tokens = Math.min(this.capacity, this.#tokens + since / this.refillMs);
    this.#filledAt = now;
    if (this.#tokens < 1) return (1 - this.#tokens) * this.refillMs;
    this.#tokens -= 1;
    return 0;
  }
}
