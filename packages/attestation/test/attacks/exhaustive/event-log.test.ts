import { describe, expect, it } from "vitest";
import { verifyEvidence, verifyQuote } from "../../../src/index.js";
import type { EventLogEntry } from "../../../src/index.js";
import { verifyEventLog } from "../../../src/evidence.js";
import {
  BOOT_EVENTS,
  KEY_PROVIDER,
  REPORT_DATA,
  SYSTEM_READY,
  codeOf,
  logOf,
  makeCase,
} from "../../support/platform.js";
import { accepted, characterEdits, truncations } from "./edits.js";

const EVENTS = [...BOOT_EVENTS, KEY_PROVIDER, SYSTEM_READY];
const WHOLE = logOf(EVENTS);
const TEXT = JSON.stringify(WHOLE);

/**
 * What a log proves: the digests in every register, and all of RTMR3's events. JSON's white space proves nothing; nor do
 * type, name and payload of the firmware's events, which no digest is recomputed from: nobody may rely on them, and
 * nobody reads identity there.
 */
function proven(events: readonly EventLogEntry[]): unknown {
  return events.map((entry) => (entry.imr === 3 ? entry : { imr: entry.imr, digest: entry.digest }));
}

describe("E2: an event log", () => {
  const good = makeCase({ events: EVENTS });
  const quote = verifyQuote(good);
  const reportData = REPORT_DATA;
  const judge = (eventLog: string): string => {
    let events: readonly EventLogEntry[] = [];
    const code = codeOf(() => ({ events } = verifyEventLog(quote, { eventLog, reportData })));
    if (code === "accepted") expect(proven(events), eventLog).toEqual(proven(WHOLE));
    return code;
  };

  it("is accepted as it is", () => {
    expect(judge(TEXT)).toBe("accepted");
    expect(verifyEvidence({ ...good, eventLog: TEXT, reportData }).identity.systemReady).toBe(true);
  });

  it("cannot be changed in any character so that it says something else", { timeout: 7_200_000 }, () => {
    const { of, taken } = accepted(characterEdits(TEXT), (text) => judge(text) === "accepted");
    // Within the firmware's events only, and few of them: what is hex must stay hex.
    const end = TEXT.indexOf('{"imr":3');
    const outside = taken.filter((name) => Number(/character (\d+)/.exec(name)?.[1]) > end);
    expect(outside.filter((name) => !/^a (space|line feed) before/.test(name))).toEqual([]);
    expect(taken.length).toBeLessThan(of / 4);
  });

  it("cannot be cut off", () => {
    expect(accepted(truncations(TEXT), (text) => judge(text) === "accepted").taken).toEqual([]);
  });
});
