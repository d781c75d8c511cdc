import { parseEventLog, parseQuote } from "@dstack/attestation";
import type { EventLogEntry, TdReportBody } from "@dstack/attestation";
import { REPORT_DATA_BYTES } from "./report-data.js";
import type { Quotes } from "./quotes.js";

/** What the platform measured, taken from a quote of this VM, and the log that explains it. */
export interface Measured {
  body: TdReportBody;
  events: EventLogEntry[];
}

/**
 * The measurements for `Info`, which SDKs call to see whether we are there and give 500 ms: a quote is only asked for
 * when an event was added since the last one.
 */
export class Measurements {
  readonly #quotes: Quotes;
  readonly #revision: () => Promise<number>;
  #known: { revision: number; measured: Measured } | undefined;

  /** @param revision a number that changes with every event */
  constructor(quotes: Quotes, revision: () => Promise<number>) {
    this.#quotes = quotes;
    this.#revision = revision;
  }

  async current(signal?: AbortSignal): Promise<Measured> {
    // Read first: an event that comes while we quote then makes the next call quote again.
    const revision = await this.#revision();
    if (this.#known?.revision === revision) return this.#known.measured;
    const { quote, eventLog } = await this.#quotes.get(new Uint8Array(REPORT_DATA_BYTES), signal);
    const measured = { body: parseQuote(quote).body, events: parseEventLog(eventLog) };
    this.#known = { revision, measured };
    return measured;
  }
}
