import { setTimeout as delay } from "node:timers/promises";
import { InputError, TimeoutError } from "./errors.js";

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/**
 * A moment as log requests name it, in Unix seconds: such a number, or a duration back from `now`.
 * @param what the parameter, for the error
 * @returns below 0 for a duration that is longer than Unix time
 * @throws {InputError}
 */
export function parseWhen(what: string, text: string, now: number): number {
  if (/^\d{1,12}(\.\d{1,9})?$/.test(text)) return Number(text);
  if (!/^(\d{1,9}[smhd]){1,4}$/.test(text)) {
    throw new InputError(
      `${what} must be a Unix time in seconds or a duration such as 90s, 10m, 1h or 1h30m`,
    );
  }
  let seconds = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)([smhd])/g)) {
    seconds += Number(digits) * (UNIT_SECONDS[unit ?? ""] ?? 0);
  }
  return now - seconds;
}

/** Waits. Rejects with the signal's reason when it is aborted first. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (err) {
    signal?.throwIfAborted();
    throw err;
  }
}

/**
 * Runs work under a time limit: the signal handed to it aborts at the limit or with the outer signal, and the
 * returned promise settles then even if the work ignores the signal.
 * @throws {TimeoutError} `<what> took longer than <n> s`, or ms below a second
 */
export async function withDeadline<T>(
  what: string,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
  outer?: AbortSignal,
): Promise<T> {
  const limit = new AbortController();
  const length = ms < 1000 ? `${ms} ms` : `${ms / 1000} s`;
  const timer = setTimeout(() => limit.abort(new TimeoutError(`${what} took longer than ${length}`)), ms);
  const signal = outer === undefined ? limit.signal : AbortSignal.any([outer, limit.signal]);
  try {
    return await abortable(work(signal), signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Settles with the promise, or rejects with the signal's reason as soon as it aborts. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => {}); // it may fail after we have left
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener("abort", onAbort);
  }
}

/** Runs tasks one after the other, in the order they came. */
export class Serial {
  #tail: Promise<unknown> = Promise.resolve();

  /** Runs the task when all earlier ones have settled; a failed task does not stop later ones. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task, task);
    this.#tail = result.catch(() => {});
    return result;
  }
}
