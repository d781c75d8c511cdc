/** Questions in the time that an engine has to answer one. */
const QUESTIONS = 6;

/**
 * Asks an engine again and again whether it is there, and ends it when it is not: one that hangs does not end by itself.
 * What counts are moments at which we ask, each a turn of our own event loop later than the one before: while we do not
 * run ourselves, however long, no more than one of them passes.
 */
export class Watchdog implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #unanswered = 0;

  /**
   * @param limitMs how long it may be silent, of the time in which we run
   * @param ask resolves when it has answered
   * @param onSilence called once
   */
  constructor(limitMs: number, ask: () => Promise<unknown>, onSilence: () => void) {
    this.#timer = setInterval(() => {
      if (this.#unanswered === QUESTIONS) {
        this[Symbol.dispose]();
        onSilence();
        return;
      }
      this.#unanswered += 1;
      // Any answer will do: one may be lost where more waits for us than is kept.
      void ask().then(() => (this.#unanswered = 0));
    }, limitMs / QUESTIONS);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
