import { X509Certificate } from "node:crypto";
import { silentLogger } from "@dstack/daemon";
import { readEvidence } from "@dstack/ra-tls";
import { RuntimeEventLog } from "@dstack/tdx-attest";
import { describe, expect, it } from "vitest";
import { loadAppKeys } from "../src/app/app-keys.js";
import { Quotes } from "../src/quote/quotes.js";
import { renewExternalCertificate } from "../src/tls/external-certificate.js";
import type { ServerCertificate } from "../src/tls/external-certificate.js";
import { bootGuest } from "./support/tappd-fixture.js";

describe("the external certificate", () => {
  it("is renewed with a fresh key and fresh evidence, also after an attempt that failed", async () => {
    await using guest = await bootGuest();
    const events = await RuntimeEventLog.open({
      provider: guest.provider,
      path: guest.config.core.event_log,
    });
    const keys = await loadAppKeys(guest.config.core.keys_file);
    let failures = 1;
    const source = {
      quote: async (reportData: Uint8Array) => {
        if (failures-- > 0) throw new Error("no quote today");
        return events.quote(reportData);
      },
    };
    const stop = new AbortController();
    const renewed: ServerCertificate[] = [];
    await renewExternalCertificate(
      { keys, quotes: new Quotes(source, { timeoutMs: 5000 }), log: silentLogger() },
      (certificate) => {
        renewed.push(certificate);
        if (renewed.length === 2) stop.abort();
      },
      stop.signal,
      { renewMs: 5, retryMs: 1 },
    );
    const [first, second] = renewed.map(({ chainPem }) => new X509Certificate(chainPem));
    if (first === undefined || second === undefined) throw new Error("not renewed twice");
    expect(first.publicKey.equals(second.publicKey)).toBe(false);
    expect(readEvidence(second.raw)?.eventLog).toContain("system-ready");
  });
});
