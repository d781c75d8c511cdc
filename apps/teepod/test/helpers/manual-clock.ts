import type { Clock } from "../../src/index.js";

/** A clock that goes on when it is told to. */
export class ManualClock implements Clock {
  #now = Date.parse("2026-01-02T03:04:05.000Z");
  readonly #sleepers = new Set<{ until: number; wake: () => void }>();

  now(): Date {
    return new Date(this.#now);
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const sleeper = { until: this.#now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason as Error);
      });
    });
  }

  /** Time passes; whoever slept long enough wakes up. */
  advance(ms: number): void {
    this.#now += ms;
    for (const sleeper of this.#sleepers) {
      if (sleeper.until > this.#now) continue;
      this.#sleepers.delete(sleeper);
      sleeper.wake();
    }
  }
}
