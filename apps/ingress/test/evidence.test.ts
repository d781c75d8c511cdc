import { freshDomainReportData } from "@dstack/attestation";
import { fromHex, hex, utf8 } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { describe, expect, it } from "vitest";
import { RateLimit } from "../src/evidence/rate-limit.js";
import { EvidencePages } from "../src/evidence/serve-evidence.js";
import { DOMAIN, EVIDENCE, echoAgent } from "./support.js";

const pages = (agent = echoAgent) =>
  new EvidencePages({ agent, domains: [DOMAIN], onQuote: () => {}, log: silentLogger() });
const ask = (from: EvidencePages, nonce: string) =>
  from.answer(EVIDENCE, "GET", `/evidences/quote.json?nonce=${nonce}`);

describe("/evidences/", () => {
  it("C5: quotes the evidence together with the caller's nonce, at once", async () => {
    const nonce = "00ff".repeat(16);
    const page = await ask(pages(), nonce);
    expect(page.status).toBe(200);
    expect(JSON.parse(page.body)).toEqual({
      quote: hex(freshDomainReportData(utf8(EVIDENCE.sums), fromHex(nonce))),
      event_log: "[]",
      nonce,
    });
  });

  it("C5: tells when it was issued", async () => {
    const page = await pages().answer(EVIDENCE, "GET", "/evidences/");
    expect(page.body).toContain('<time datetime="2026-01-01T00:00:00.000Z">');
    expect(page.headers["content-security-policy"]).toContain("default-src 'none'");
  });

  it.each([[""], ["0"], ["xx"], ["00".repeat(65)]])("refuses the nonce %j", async (nonce) => {
    expect(await ask(pages(), nonce)).toMatchObject({ status: 400 });
  });

  it("gives only so many quotes, at once and in a row", async () => {
    const waiting: (() => void)[] = [];
    const slow = pages({
      ...echoAgent,
      quote: () => new Promise((resolve) => waiting.push(() => resolve({ quote: "", event_log: "" }))),
    });
    const first = Array.from({ length: 4 }, () => ask(slow, "00"));
    expect(await ask(slow, "00")).toMatchObject({ status: 429, headers: { "retry-after": "1" } });
    for (const answer of waiting) answer();
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([200, 200, 200, 200]);

    const many = pages();
    const statuses: number[] = [];
    for (let i = 0; i < 60; i++) statuses.push((await ask(many, "00")).status);
    expect(statuses.slice(0, 20)).toEqual(Array(20).fill(200));
    expect(statuses).toContain(429);
  });

  it("says so when the guest agent gives no quote, and goes on", async () => {
    let fails = true;
    const some = pages({
      ...echoAgent,
      quote: async (data) => {
        if (fails) throw new Error("no device");
        return echoAgent.quote(data, new AbortController().signal);
      },
    });
    expect(await ask(some, "00")).toMatchObject({ status: 503 });
    fails = false;
    expect(await ask(some, "00")).toMatchObject({ status: 200 });
  });

  it("takes GET and HEAD alone, and only its own paths", async () => {
    expect(await pages().answer(EVIDENCE, "POST", "/evidences/")).toMatchObject({ status: 405 });
    expect(EvidencePages.owns("/evidences?x")).toBe(true);
    expect(EvidencePages.owns("/evidences-of-others")).toBe(false);
  });
});

describe("limits of time", () => {
  it("a bucket refills with time and holds no more than it can", () => {
    const limit = new RateLimit(2, 1000);
    expect([limit.take(0), limit.take(0)]).toEqual([0, 0]);
    expect(limit.take(0)).toBe(1000);
    expect(limit.take(500)).toBe(500);
    expect(limit.take(1000)).toBe(0);
    expect([limit.take(60_000), limit.take(60_000), limit.take(60_000)]).toEqual([0, 0, 1000]);
  });
});
