import { QuoteError } from "./errors.js";

/** When something may be used, both ends included, in unix seconds. */
export interface Period {
  readonly what: string;
  readonly from: number;
  readonly to: number;
}

/**
 * @param now integer unix seconds: a value that is not a number would compare as "in date" everywhere
 * @throws {QuoteError} `input_invalid`, `not_in_date`
 */
export function requireInDate(periods: readonly Period[], now: number): void {
  if (!Number.isSafeInteger(now) || now < 0) {
    throw new QuoteError("input_invalid", "the time to verify at must be integer unix seconds");
  }
  for (const { what, from, to } of periods) {
    if (now < from) throw outOfDate(`the ${what} is not valid before ${iso(from)}`, now);
    if (now > to) throw outOfDate(`the ${what} was valid until ${iso(to)}`, now);
  }
}

/** Unix seconds as `2026-01-31T12:00:00Z`. */
export function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}

function outOfDate(message: string, now: number): QuoteError {
  return new QuoteError("not_in_date", `${message}, it is ${iso(now)}`);
}
