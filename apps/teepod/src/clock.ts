import { sleep } from "@dstack/core";

/** Time as the VM manager sees it; a test drives its own. */
export interface Clock {
  now(): Date;
  /** Rejects with the signal's reason when it aborts first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = { now: () => new Date(), sleep };
