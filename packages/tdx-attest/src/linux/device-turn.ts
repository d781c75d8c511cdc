import { Serial, TimeoutError, abortable, errorMessage, withDeadline } from "@dstack/core";
import { DeviceError, type DeviceErrorCode } from "../quote-provider.js";

/**
 * Gives out a device to one call at a time. A caller waits no longer than its limits; the turn ends only with the call
 * itself, so that a kernel that does not answer holds one thread of libuv's pool and never all of them.
 */
export class DeviceTurn {
  readonly #calls = new Serial();
  readonly #turnMs: number;

  /** @param turnMs how long a caller waits for its turn */
  constructor(turnMs: number) {
    this.#turnMs = turnMs;
  }

  /**
   * @param limitMs for the call, once it has its turn
   * @throws {DeviceError} `device_failure`: the call hangs; `retryable`: no turn, because another one takes long
   */
  async run<T>(what: string, limitMs: number, call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const waiting = `waiting for the TDX device before ${what}`;
    const { outcome } = await limited(waiting, this.#turnMs, "retryable", signal, (limit) =>
      this.#start(call, limit),
    );
    return limited(what, limitMs, "device_failure", signal, () => outcome);
  }

  /** Settles when the call has begun. */
  async #start<T>(call: () => Promise<T>, signal: AbortSignal): Promise<{ outcome: Promise<T> }> {
    const begun = new Promise<{ outcome: Promise<T> }>((resolve) => {
      void this.#calls.run(async () => {
        if (signal.aborted) return;
        const outcome = call();
        resolve({ outcome });
        await outcome.catch(() => {});
      });
    });
    return abortable(begun, signal);
  }
}

/** A time limit whose passing is a DeviceError. */
export async function limited<T>(
  what: string,
  ms: number,
  code: DeviceErrorCode,
  signal: AbortSignal | undefined,
  work: (limit: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    return await withDeadline(what, ms, work, signal);
  } catch (err) {
    if (!(err instanceof TimeoutError) || signal?.aborted === true) throw err;
    const reason = `${errorMessage(err)}: the driver, or the host behind it, does not answer`;
    throw new DeviceError(code, reason, {}, { cause: err });
  }
}
