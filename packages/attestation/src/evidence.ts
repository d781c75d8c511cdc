import { hex, sameBytes } from "@dstack/core";
import type { TrustAnchor } from "./anchors.js";
import type { Collateral } from "./collateral.js";
import { EvidenceError } from "./errors.js";
import { parseEventLog, replayEventLog } from "./event-log.js";
import type { EventLogEntry } from "./event-log.js";
import { readAppIdentity } from "./identity.js";
import type { AppIdentity } from "./identity.js";
import { verifyQuote } from "./verify-quote.js";
import type { VerifiedQuote } from "./verify-quote.js";
import type { Watch } from "./watch.js";

const REPLAYS = ["replay of RTMR0", "replay of RTMR1", "replay of RTMR2", "replay of RTMR3"] as const;

/** A verified quote, the event log that explains its RTMRs, and who the log says the guest is. */
export interface VerifiedEvidence {
  readonly quote: VerifiedQuote;
  readonly identity: AppIdentity;
  readonly events: readonly EventLogEntry[];
}

/**
 * Verifies a guest's evidence: the quote, that it was made over this report data, that replaying the log gives all
 * four quoted RTMRs, and the identity. Whether that is good enough is for `checkPolicy`.
 * @param input.eventLog JSON array text
 * @param input.reportData the 64 bytes the quote must have been made over
 * @throws {QuoteError}
 * @throws {EvidenceError}
 */
export function verifyEvidence(input: {
  readonly quote: Uint8Array;
  readonly eventLog: string;
  readonly collateral: Collateral;
  readonly now: number;
  readonly anchors: readonly TrustAnchor[];
  readonly reportData: Uint8Array;
}): VerifiedEvidence {
  return verifyEventLog(verifyQuote(input), input);
}

/** The part of {@link verifyEvidence} that follows the quote. */
export function verifyEventLog(
  quote: VerifiedQuote,
  input: { readonly eventLog: string; readonly reportData: Uint8Array },
): VerifiedEvidence {
  requireReportData(quote, input.reportData);
  return { quote, ...readVerifiedLog(quote, input.eventLog) };
}

/** @throws {EvidenceError} `report_data_mismatch` */
export function requireReportData(quote: VerifiedQuote, expected: Uint8Array): void {
  if (!sameBytes(quote.body.reportData, expected)) {
    throw new EvidenceError("report_data_mismatch", "the quote was made over other report data");
  }
}

/**
 * The events and the identity of a log that replays to the registers of a quote.
 * @param watch is told each check as it begins
 * @throws {EvidenceError}
 */
export function readVerifiedLog(
  quote: VerifiedQuote,
  eventLog: string,
  watch?: Watch,
): Omit<VerifiedEvidence, "quote"> {
  watch?.("event log format");
  const events = parseEventLog(eventLog);
  requireReplay(events, quote, watch);
  return { identity: readAppIdentity(events, watch), events };
}

/**
 * The log is text somebody handed us: it proves nothing until replaying it gives the registers of the signed quote.
 * @throws {EvidenceError} `rtmr_mismatch`
 */
function requireReplay(
  events: readonly EventLogEntry[],
  quote: VerifiedQuote,
  watch: Watch | undefined,
): void {
  const replayed = replayEventLog(events);
  quote.body.rtmr.forEach((quoted, index) => {
    watch?.(REPLAYS[index] ?? "replay of RTMR3");
    const value = replayed[index];
    if (value !== undefined && sameBytes(value, quoted)) return;
    throw new EvidenceError(
      "rtmr_mismatch",
      `replaying the event log does not give the quoted RTMR${index}`,
      {
        rtmr: index,
        quoted: hex(quoted),
      },
    );
  });
}
