import { describe, expect, it } from "vitest";
import { SimulatedPlatform } from "../../tdx-attest/src/simulated/platform.js";
import { QuoteVerifier, verifyQuote } from "../src/index.js";
import type { Collateral } from "../src/index.js";
import { AT, flip } from "./support/edit-quote.js";
import { NOW, REPORT_DATA, codeOf, logOf, makeCase } from "./support/platform.js";
import type { Case } from "./support/platform.js";
import { MAX_VERDICT_AGE_S, VerdictCache, digestOf } from "../src/verdict-cache.js";

const good = makeCase();
const warm = (maxEntries?: number): QuoteVerifier => {
  const verifier = new QuoteVerifier({
    anchors: good.anchors,
    ...(maxEntries === undefined ? {} : { maxEntries }),
  });
  verifier.verifyQuote(good);
  return verifier;
};
const codeAt = (verifier: QuoteVerifier, change: Partial<Case>): string =>
  codeOf(() => verifier.verifyQuote({ ...good, ...change }));

describe("QuoteVerifier gives the verdicts of verifyQuote", () => {
  it("and every field of them, also when nothing is read anew", () => {
    const verifier = warm();
    for (const now of [NOW, NOW + 60, NOW + 7200]) {
      expect(verifier.verifyQuote({ ...good, now })).toEqual(verifyQuote({ ...good, now }));
    }
    expect(verifier.remembered).toEqual({ collateral: 1, chains: 1 });
  });

  it("E1: never remembers a verdict about a quote", () => {
    const verifier = warm();
    expect(codeAt(verifier, { quote: flip(good.quote, AT.reportData) })).toBe("signature_invalid");
    expect(codeAt(verifier, { quote: flip(good.quote, AT.qeReport) })).toBe("signature_invalid");
    expect(verifier.verifyQuote(good).status).toBe("UpToDate");
  });

  it("E1: verifies event log and report data as verifyEvidence does", () => {
    const input = { ...good, eventLog: JSON.stringify(logOf()), reportData: REPORT_DATA };
    const verifier = warm();
    expect(verifier.verifyEvidence(input).identity.bootMrDone).toBe(true);
    expect(codeOf(() => verifier.verifyEvidence({ ...input, reportData: new Uint8Array(64) }))).toBe(
      "report_data_mismatch",
    );
    expect(codeOf(() => verifier.verifyEvidence({ ...input, eventLog: "[]" }))).toBe("rtmr_mismatch");
  });

  it("E10: names no collateral for a stranger's quote, remembered or not", () => {
    const verifier = warm();
    const keys = { fmspc: "FF53494D0000", ca: "platform" };
    expect(verifier.collateralKeys(good.quote, NOW)).toEqual(keys);
    expect(new QuoteVerifier(good).collateralKeys(good.quote, NOW)).toEqual(keys);
    const strict = new QuoteVerifier({ anchors: [] });
    expect(codeOf(() => strict.collateralKeys(good.quote, NOW))).toBe("root_untrusted");
  });

  it("E10: keeps to the anchors it was made with", () => {
    const anchors = [...good.anchors];
    const verifier = new QuoteVerifier({ anchors });
    anchors.length = 0;
    expect(verifier.verifyQuote(good).anchor).toBe("simulated");
    expect(codeAt(new QuoteVerifier({ anchors }), {})).toBe("root_untrusted");
  });
});

describe("E8: what is remembered ends with its dates", () => {
  const DAY = 86_400;

  it("refuses after the collateral's next update, and before it was issued, as cold", () => {
    const verifier = warm();
    for (const now of [NOW + 40 * DAY, NOW - 3 * DAY]) {
      expect(codeAt(verifier, { now })).toBe("not_in_date");
      verifier.verifyQuote(good);
    }
    for (const now of [NaN, NOW + 0.5, Infinity, -1]) expect(codeAt(verifier, { now })).toBe("input_invalid");
  });

  it.each<[string, Parameters<typeof makeCase>[0]]>([
    ["a PCK CRL", { platform: { pckCrl: { nextUpdate: new Date((NOW + 600) * 1000) } } }],
    ["a root CRL", { platform: { rootCrl: { nextUpdate: new Date((NOW + 600) * 1000) } } }],
    [
      "a PCK certificate",
      { platform: { certificates: { pck: { notAfter: new Date((NOW + 600) * 1000) } } } },
    ],
    ["a PCK CA", { platform: { certificates: { pckCa: { notAfter: new Date((NOW + 600) * 1000) } } } }],
    [
      "TCB info",
      {
        platform: {
          editTcbInfo: (info) =>
            void (info.nextUpdate = new Date((NOW + 600) * 1000).toISOString().replace(".000Z", "Z")),
        },
      },
    ],
  ])("refuses at the second after the end of %s, though remembered a second before", (_what, options) => {
    const input = makeCase(options);
    const verifier = new QuoteVerifier(input);
    verifier.verifyQuote(input);
    expect(verifier.verifyQuote({ ...input, now: NOW + 600 }).status).toBe("UpToDate");
    expect(codeOf(() => verifier.verifyQuote({ ...input, now: NOW + 601 }))).toBe("not_in_date");
  });

  it("reuses a verdict for an hour, and not under a clock that went back", () => {
    const cache = new VerdictCache<string>(4);
    cache.put("a", "verdict", NOW, NOW + DAY);
    expect(cache.get("a", NOW + MAX_VERDICT_AGE_S)).toBe("verdict");
    expect(cache.get("a", NOW + MAX_VERDICT_AGE_S + 1)).toBeUndefined();
    cache.put("a", "verdict", NOW, NOW + 10);
    expect(cache.get("a", NOW + 11)).toBeUndefined();
    cache.put("a", "verdict", NOW, NOW + DAY);
    expect(cache.get("a", NOW - 1)).toBeUndefined();
    expect(cache.size).toBe(0);
    cache.put("a", "verdict", NOW, NOW + DAY);
    expect(cache.get("a", NaN)).toBeUndefined();
  });
});

describe("E8: collateral that was changed never passes for the remembered one", () => {
  const fields = Object.keys(good.collateral) as (keyof Collateral)[];

  it.each(fields)("a character of %s", (field) => {
    const verifier = warm();
    const text = good.collateral[field];
    const missed: number[] = [];
    // Every character in turn would take minutes; steps of a prime visit all kinds of places.
    for (let at = 0; at < text.length; at += 61) {
      const other = text[at] === "0" ? "1" : "0";
      const collateral = { ...good.collateral, [field]: text.slice(0, at) + other + text.slice(at + 1) };
      if (codeAt(verifier, { collateral }) === "accepted") missed.push(at);
    }
    expect(missed).toEqual([]);
    expect(verifier.remembered).toEqual({ collateral: 1, chains: 1 });
  });

  it("an object changed in place after it was verified", () => {
    const collateral = { ...good.collateral };
    const verifier = new QuoteVerifier(good);
    verifier.verifyQuote({ ...good, collateral });
    collateral.pck_crl = "";
    expect(codeAt(verifier, { collateral })).toBe("certificate_malformed");
  });

  it("the same characters cut elsewhere, or characters that UTF-8 cannot tell apart", () => {
    expect(digestOf(["ab", "c"])).not.toBe(digestOf(["a", "bc"]));
    expect(digestOf(["1", "2"])).not.toBe(digestOf(["12", ""]));
    expect(digestOf(["\ud800"])).not.toBe(digestOf(["\ud801"]));
    expect(digestOf(["\ud800"])).not.toBe(digestOf(["\ufffd"]));
  });
});

describe("E11: what is remembered is bounded", () => {
  it("keeps the entries used last", () => {
    const cache = new VerdictCache<number>(2);
    cache.put("a", 1, NOW, NOW + 1);
    cache.put("b", 2, NOW, NOW + 1);
    cache.get("a", NOW);
    cache.put("c", 3, NOW, NOW + 1);
    expect([cache.get("a", NOW), cache.get("b", NOW), cache.get("c", NOW)]).toEqual([1, undefined, 3]);
    expect(cache.size).toBe(2);
  });

  it("is not filled by who has no good quote, and not beyond its size by who has many", () => {
    const verifier = new QuoteVerifier({ anchors: good.anchors, maxEntries: 2 });
    expect(codeAt(verifier, { quote: flip(good.quote, AT.mrTd) })).toBe("signature_invalid");
    const stranger = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(9)).collateral(NOW);
    expect(codeAt(verifier, { collateral: stranger })).toBe("root_untrusted");
    expect(verifier.remembered).toEqual({ collateral: 0, chains: 0 });
    // Another FMSPC: another PCK, another TCB info, the same root.
    for (const fmspc of ["FF53494D0001", "FF53494D0002", "FF53494D0003"]) {
      verifier.verifyQuote(makeCase({ platform: { fmspc } }));
    }
    expect(verifier.remembered).toEqual({ collateral: 2, chains: 2 });
    expect(verifier.verifyQuote(good).fmspc).toBe("FF53494D0000");
  });
});
