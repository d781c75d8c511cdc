import { setImmediate as nextTurn } from "node:timers/promises";
import { Serial } from "./time.js";

/** Spreads work that takes the processor for a while: each piece has a turn of the event loop of its own, in the order they came. */
export class Turns {
  readonly #queue = new Serial();

  /** Resolves when it is the caller's turn: what it does then, without waiting, no other piece does in the same turn. */
  take(): Promise<void> {
    return this.#queue.run(() => nextTurn());
  }
}
