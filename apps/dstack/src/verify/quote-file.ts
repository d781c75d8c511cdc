import { InputError, fromHex, sha512 } from "@dstack/core";
import type { Missing } from "@dstack/attestation";
import { z } from "zod";
import type { Presented } from "./presented.js";

/** What `Tappd.TdxQuote?json` answers. */
const QuoteAnswer = z.looseObject({ quote: z.string(), event_log: z.string().optional() });

/** The report data of `Tappd.TdxQuote` with its default hash: `sha512("app-data:" ‖ data)`. */
export function appReportData(data: Uint8Array): Uint8Array {
  return sha512("app-data:", data);
}

export interface QuoteAnswer {
  readonly quote: Uint8Array;
  /** JSON array text. */
  readonly eventLog?: string;
}

/** Whether a file begins as a quote does, with version 4 or 5 in two bytes: no text and no certificate does. */
export function isQuote(bytes: Uint8Array): boolean {
  return (bytes[0] === 4 || bytes[0] === 5) && bytes[1] === 0;
}

/**
 * A quote in any of the forms it is kept in: the JSON of a `TdxQuote` answer, hex text, or its bytes.
 * @throws {InputError} none of these
 */
export function parseQuoteFile(bytes: Uint8Array): QuoteAnswer {
  if (isQuote(bytes)) return { quote: bytes };
  const text = new TextDecoder().decode(bytes).trim();
  if (/^(?:0x)?[0-9a-fA-F]+$/.test(text)) return { quote: fromHex(text.replace(/^0x/, ""), "quote") };
  return parseQuoteAnswer(text);
}

/** Reads the JSON of a quote answer. @throws {InputError} other text */
export function parseQuoteAnswer(text: string): QuoteAnswer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError("it is neither a quote nor JSON with the fields quote and event_log");
  }
  const parsed = QuoteAnswer.safeParse(value);
  if (!parsed.success) throw new InputError("it is JSON without the text fields quote and event_log");
  const { quote, event_log: eventLog } = parsed.data;
  return { quote: fromHex(quote, "quote"), ...(eventLog === undefined ? {} : { eventLog }) };
}

/** A quote that was kept in a file. */
export function presentedQuote(answer: QuoteAnswer, reportData: Uint8Array | Missing): Presented {
  return {
    subject: "quote",
    checks: [],
    quote: answer.quote,
    eventLog: answer.eventLog ?? { missing: "no event log was given (--event-log <file>)" },
    reportData,
    fromApp: true,
  };
}
