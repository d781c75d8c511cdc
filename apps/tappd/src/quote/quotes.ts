import { Serial, TimeoutError, abortable, withDeadline } from "@dstack/core";
import { RpcError } from "@dstack/prpc";

/** More callers than this waiting for the one quote device means somebody floods it. */
const MAX_WAITING = 64;

/** A quote and the event log that replays to its registers. */
export interface Evidence {
  quote: Uint8Array;
  /** JSON array text. */
  eventLog: string;
}

/** Makes a quote and reads the event log without an event coming between the two. */
export interface EvidenceSource {
  quote(reportData: Uint8Array, signal?: AbortSignal): Promise<Evidence>;
}

/** Gets quotes one after the other, each within a time limit that includes waiting for its turn. */
export class Quotes {
  readonly #source: EvidenceSource;
  readonly #timeoutMs: number;
  readonly #turn = new Serial();
  #waiting = 0;

  constructor(source: EvidenceSource, options: { timeoutMs: number }) {
    this.#source = source;
    this.#timeoutMs = options.timeoutMs;
  }

  /**
   * @param reportData 64 bytes
   * @throws {RpcError} `too_many` callers wait, or `unavailable` within the time limit
   */
  async get(reportData: Uint8Array, signal?: AbortSignal): Promise<Evidence> {
    if (this.#waiting >= MAX_WAITING) {
      throw new RpcError("too_many", "too many quote requests are waiting", { retryAfterSeconds: 1 });
    }
    this.#waiting += 1;
    try {
      return await withDeadline(
        "getting a quote",
        this.#timeoutMs,
        (limited) => this.#turn.run(() => this.#quote(reportData, limited)),
        signal,
      );
    } catch (err) {
      if (err instanceof TimeoutError) throw new RpcError("unavailable", err.message, { cause: err });
      throw err;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Settles with the signal even when the device does not, so that the next caller gets its turn. */
  async #quote(reportData: Uint8Array, signal: AbortSignal): Promise<Evidence> {
    signal.throwIfAborted();
    return abortable(this.#source.quote(reportData, signal), signal);
  }
}
