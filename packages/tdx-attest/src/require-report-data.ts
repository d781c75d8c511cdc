import { parseQuote } from "@dstack/attestation";
import { errorMessage, sameBytes } from "@dstack/core";
import { DeviceError } from "./quote-provider.js";

/**
 * A quote is of use only with the report data that was asked for. The kernel's interface can hand out the quote of
 * another caller, so every quote is looked at before it goes anywhere.
 * @throws {DeviceError} `quote_failed`
 */
export function requireReportData(quote: Uint8Array, reportData: Uint8Array): void {
  let found;
  try {
    found = parseQuote(quote).body.reportData;
  } catch (err) {
    throw new DeviceError(
      "quote_failed",
      `the platform's quote is unusable: ${errorMessage(err)}`,
      {},
      { cause: err },
    );
  }
  if (!sameBytes(found, reportData)) {
    throw new DeviceError(
      "quote_failed",
      "the platform gave a quote over other report data than was asked for",
    );
  }
}
