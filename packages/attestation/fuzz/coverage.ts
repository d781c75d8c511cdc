import { Session } from "node:inspector";
import type { Profiler } from "node:inspector";

/**
 * Which blocks of our own code ran: V8 counts them, and says so through the inspector. Telling takes some milliseconds,
 * so whoever asks does it for many runs at a time.
 */
export class Coverage implements Disposable {
  readonly #session = new Session();
  readonly #seen = new Set<string>();
  #last: readonly string[] = [];

  constructor() {
    this.#session.connect();
    this.#post("Profiler.enable");
    this.#post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** How many blocks were learnt. */
  get size(): number {
    return this.#seen.size;
  }

  /** Whether a block ran since the last call that was never learnt. */
  hasNew(): boolean {
    this.#last = this.#takeBlocks();
    return this.#last.some((block) => !this.#seen.has(block));
  }

  /** The blocks of the last look are new no more. */
  learn(): void {
    for (const block of this.#last) this.#seen.add(block);
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }

  #takeBlocks(): string[] {
    const taken = this.#post<Profiler.TakePreciseCoverageReturnType>("Profiler.takePreciseCoverage");
    return taken.result
      .filter(({ url }) => url.includes("/packages/") && url.includes("/src/"))
      .flatMap(({ scriptId, functions }) =>
        functions.flatMap(({ ranges }) =>
          ranges
            .filter(({ count }) => count > 0)
            .map(
              ({ startOffset, endOffset, count }) =>
                `${scriptId}:${startOffset}:${endOffset}:${scale(count)}`,
            ),
        ),
      );
  }

  /** The inspector of one's own thread answers before `post` returns. */
  #post<T>(method: string, params?: object): T {
    let answer: unknown;
    this.#session.post(method, params, (err: Error | null, result?: object) => {
      if (err !== null) throw err;
      answer = result;
    });
    return answer as T;
  }
}

/** Whether a block ran at all, or very often: a loop that runs longer than ever is worth to go on from. */
function scale(count: number): number {
  return count < 1000 ? 0 : Math.floor(Math.log2(count));
}
