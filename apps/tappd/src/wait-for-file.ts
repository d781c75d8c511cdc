import { stat } from "node:fs/promises";
import { InputError, errorCode, sleep } from "@dstack/core";

const POLL_MS = 100;
/** Longer than the steps of a boot may take together: a boot that failed ends the machine, or is being looked at. */
const LIMIT_MS = 60 * 60_000;

/**
 * Settles when there is a file of this name. Whoever makes it must put it there complete, by renaming it.
 * @throws {InputError} there is none after an hour
 */
export async function waitForFile(path: string, signal: AbortSignal): Promise<void> {
  const giveUpAt = performance.now() + LIMIT_MS;
  for (;;) {
    try {
      await stat(path);
      return;
    } catch (err) {
      if (errorCode(err) !== "ENOENT") throw err;
    }
    if (performance.now() > giveUpAt) throw new InputError(`${path} has not appeared within an hour`);
    await sleep(POLL_MS, signal);
  }
}
