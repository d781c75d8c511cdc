import { parseQuote, replayEventLog } from "@dstack/attestation";
import { sha384 } from "@dstack/core";
import { expect, it } from "vitest";
import type { QuoteProvider } from "../src/index.js";

const reportData = Uint8Array.from({ length: 64 }, (_, i) => 255 - i);
const ZERO = new Uint8Array(48);

/** What every provider must do. Each call of `make` gives one for a TD that has just started. */
export function quoteProviderContract(make: () => Promise<QuoteProvider>): void {
  it("puts the report data into the quote", async () => {
    const quote = await (await make()).getQuote(reportData);
    expect(parseQuote(quote).body.reportData).toEqual(reportData);
  });

  it("gives every one of many callers the quote over its own report data", async () => {
    const provider = await make();
    const asked = Array.from({ length: 8 }, (_, i) => new Uint8Array(64).fill(i));
    const quotes = await Promise.all(asked.map((data) => provider.getQuote(data)));
    expect(quotes.map((quote) => parseQuote(quote).body.reportData)).toEqual(asked);
  });

  it("starts with RTMR3 at zero and extends it by SHA-384(old ‖ digest)", async () => {
    const provider = await make();
    expect(await provider.readRtmr(3)).toEqual(ZERO);
    const digests = [sha384("first"), sha384("second")];
    for (const digest of digests) await provider.extendRtmr(3, digest);
    const expected = digests.reduce((register, digest) => sha384(register, digest), ZERO);
    expect(await provider.readRtmr(3)).toEqual(expected);
    expect(parseQuote(await provider.getQuote(reportData)).body.rtmr[3]).toEqual(expected);
  });

  it("has boot events that replay to the registers of the boot", async () => {
    const provider = await make();
    const replayed = replayEventLog(await provider.bootEvents());
    for (const index of [0, 1, 2] as const) expect(await provider.readRtmr(index)).toEqual(replayed[index]);
  });

  it("gives a TDREPORT over the report data", async () => {
    const report = await (await make()).getReport(reportData);
    expect(report).toHaveLength(1024);
    expect(Uint8Array.from(report.subarray(128, 192))).toEqual(reportData);
  });

  it("refuses report data and digests of the wrong length, and registers that are not the guest's", async () => {
    const provider = await make();
    await expect(provider.getQuote(new Uint8Array(63))).rejects.toThrow(
      "report data must be 64 bytes, got 63",
    );
    await expect(provider.getQuote(new Uint8Array(65))).rejects.toThrow(
      "report data must be 64 bytes, got 65",
    );
    await expect(provider.extendRtmr(3, new Uint8Array(47))).rejects.toThrow(
      "digest must be 48 bytes, got 47",
    );
    const before = await Promise.all(([0, 1, 2, 3] as const).map((index) => provider.readRtmr(index)));
    for (const index of [0, 1, 2, 4, -1, 3.5, NaN] as 3[]) {
      await expect(provider.extendRtmr(index, sha384("x"))).rejects.toThrow(`only RTMR 3 can be extended`);
    }
    const after = await Promise.all(([0, 1, 2, 3] as const).map((index) => provider.readRtmr(index)));
    expect(after).toEqual(before);
    expect(after[3]).toEqual(ZERO);
  });

  it("does not start for a caller that has given up", async () => {
    const provider = await make();
    await expect(provider.getQuote(reportData, AbortSignal.abort(new Error("gave up")))).rejects.toThrow(
      "gave up",
    );
  });
}
