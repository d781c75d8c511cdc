import { hex } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  INTEL_ROOT,
  authenticateCollateral,
  parseCcel,
  parseQuote,
  quoteCollateralKeys,
  replayEventLog,
  verifyQuote,
  verifyQuoteWith,
} from "../src/index.js";
import type { Collateral } from "../src/index.js";
import { lastCertificate, oracleStatus } from "./support/oracle.js";
import { codeOf } from "./support/platform.js";
import { genuine, haveVectors, vector } from "./support/vectors.js";

const anchors = [INTEL_ROOT];
const DAY = 86_400;

describe.skipIf(!haveVectors)("genuine quotes", () => {
  it("E1: verifies a v4 quote of Intel hardware", () => {
    const { quote, collateral, now } = genuine("tdx_quote_v4");
    const verified = verifyQuote({ quote, collateral, now, anchors });
    expect(verified).toMatchObject({
      anchor: "intel",
      status: "UpToDate",
      advisories: [],
      tcbDate: "2024-03-13T00:00:00Z",
      evaluationNumber: 17,
      fmspc: "B0C06F000000",
      ppid: "811dca2a26b952e85bb6448b097ba4fd",
      earliestExpiry: Date.parse("2025-07-19T10:00:35Z") / 1000, // the PCK CRL
    });
    expect(hex(verified.body.tdAttributes)).toBe("0000001000000000");
    expect(oracleStatus({ quote, collateral, now }, lastCertificate(collateral.tcb_info_issuer_chain))).toBe(
      "UpToDate",
    );
  });

  it("E7: refuses a v5 quote whose platform reaches no TCB level, for that reason only", () => {
    const { quote, collateral, now } = genuine("tdx_quote_v5");
    expect(codeOf(() => verifyQuote({ quote, collateral, now, anchors }))).toBe("tcb_unsupported");
    expect(parseQuote(quote).body.mrServiceTd).toEqual(new Uint8Array(48));
    expect(oracleStatus({ quote, collateral, now }, lastCertificate(collateral.tcb_info_issuer_chain))).toBe(
      "refused",
    );
  });

  it("E1: takes the quote of the first tappd through chain and signatures, to a TCB level that is gone", () => {
    const text = new TextDecoder().decode(vector("tappd_quote_v4.hex")).trim();
    const quote = new Uint8Array(Buffer.from(text, "hex"));
    expect(quoteCollateralKeys(parseQuote(quote), anchors)).toEqual({
      fmspc: "B0C06F000000",
      ca: "platform",
    });
    const { collateral, now } = genuine("tdx_quote_v4");
    expect(codeOf(() => verifyQuote({ quote, collateral, now, anchors }))).toBe("tcb_unsupported");
    const otherFleet = genuine("tdx_quote_v5");
    expect(
      codeOf(() => verifyQuote({ quote, collateral: otherFleet.collateral, now: otherFleet.now, anchors })),
    ).toBe("platform_mismatch");
  });

  it("E8: enforces the dates of every part of the collateral", () => {
    const { quote, collateral, now } = genuine("tdx_quote_v4");
    for (const other of [now - 2 * DAY, now + 40 * DAY, now + 400 * DAY]) {
      expect(codeOf(() => verifyQuote({ quote, collateral, now: other, anchors }))).toBe("not_in_date");
    }
    const authentic = authenticateCollateral(collateral, anchors);
    expect(codeOf(() => verifyQuoteWith(authentic, quote, now + 40 * DAY))).toBe("not_in_date");
  });

  it("E1: refuses collateral with a part missing, or taken from another day", () => {
    const { quote, collateral, now } = genuine("tdx_quote_v4");
    const other = genuine("tdx_quote_v5").collateral;
    for (const name of Object.keys(collateral)) {
      const without: Collateral = { ...collateral, [name]: "" };
      expect(
        codeOf(() => verifyQuote({ quote, collateral: without, now, anchors })),
        name,
      ).not.toBe("accepted");
      const mixed = { ...collateral, [name]: other[name as keyof Collateral] };
      const sameText = mixed[name as keyof Collateral] === collateral[name as keyof Collateral];
      const verdict = codeOf(() => verifyQuote({ quote, collateral: mixed, now, anchors }));
      expect(verdict === "accepted", name).toBe(sameText);
    }
  });

  it("E10: a genuine quote is no simulated one, and an anchor cannot relabel it", () => {
    const { quote, collateral, now } = genuine("tdx_quote_v4");
    expect(codeOf(() => verifyQuote({ quote, collateral, now, anchors: [] }))).toBe("root_untrusted");
    const relabelled = [{ ...INTEL_ROOT, kind: "simulated" as const }];
    expect(codeOf(() => verifyQuote({ quote, collateral, now, anchors: relabelled }))).toBe("input_invalid");
  });

  it("replays a genuine CCEL", () => {
    const events = parseCcel(vector("ccel.bin"));
    expect(events).toHaveLength(18);
    expect(events.filter((event) => event.imr === 0)).toHaveLength(13);
    // Values by an independent replay of the same file.
    expect(replayEventLog(events).map((value) => hex(value).slice(0, 16))).toEqual([
      "274c2344116db7c6",
      "bdcf4ee0f7fdfe7c",
      "0000000000000000", // nothing was extended
      "0000000000000000",
    ]);
  });
});
