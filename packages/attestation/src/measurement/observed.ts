import { InputError, fromHex } from "@dstack/core";
import { z } from "zod";
import { parseCcel } from "../ccel.js";
import { parseEventLog } from "../event-log.js";
import type { EventLogEntry } from "../event-log.js";
import { parseQuote } from "../quote.js";
import type { TdReportBody } from "../td-report.js";

/** Longest file with a log; a CCEL area has 64 KiB, a quote with its log less than half of that. */
export const MAX_OBSERVED_BYTES = 1024 * 1024;

/** What ran in a VM, as somebody tells: a log, and the registers of its quote if there is one. Nothing is verified. */
export interface Observed {
  readonly log: readonly EventLogEntry[];
  readonly body?: TdReportBody | undefined;
}

/** What `TdxQuote?json` answers and `tdxctl quote --json` prints. */
const QuoteAnswer = z.looseObject({
  quote: z.string(),
  event_log: z.union([z.string(), z.array(z.unknown())]),
});

/**
 * Reads a log in any form in which one is at hand: the JSON array of `tdxctl eventlog --json`, an object with `quote` and
 * `event_log`, or the bytes of `/sys/firmware/acpi/tables/data/CCEL`.
 * @throws {InputError} none of these
 * @throws {EvidenceError} `event_log_malformed`
 * @throws {QuoteError} `quote_malformed`
 */
export function parseObserved(file: Uint8Array): Observed {
  const text = new TextDecoder().decode(file).trimStart();
  if (text.startsWith("[")) return { log: parseEventLog(text) };
  if (!text.startsWith("{")) return { log: parseCcel(file) };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    throw new InputError("the file with the log starts as JSON but is none", { cause: err });
  }
  const parsed = QuoteAnswer.safeParse(value);
  if (!parsed.success) throw new InputError("the JSON has no fields quote and event_log");
  const { quote, event_log: log } = parsed.data;
  return {
    log: parseEventLog(typeof log === "string" ? log : JSON.stringify(log)),
    body: parseQuote(fromHex(quote, "quote")).body,
  };
}
