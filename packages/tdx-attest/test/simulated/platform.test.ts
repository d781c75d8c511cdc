import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "../../src/index.js";
import type { SimulatedPlatformOptions, SimulatedTd } from "../../src/index.js";
import { oracleVerdict } from "./oracle.js";

const NOW = 1_790_000_000;
const seed = new Uint8Array(32).fill(7);
const reportData = Uint8Array.from({ length: 64 }, (_, i) => i);
const td: SimulatedTd = {
  mrTd: new Uint8Array(48).fill(1),
  rtmr: [2, 3, 4, 5].map((n) => new Uint8Array(48).fill(n)),
};

function verdictOf(options: SimulatedPlatformOptions): ReturnType<typeof oracleVerdict> {
  const platform = SimulatedPlatform.fromSeed(seed, options);
  return oracleVerdict(platform, platform.quote(td, reportData), NOW);
}

describe("SimulatedPlatform", () => {
  for (const shape of [{}, { version: 5 }, { version: 5, bodyType: 2 }, { padding: 70 }] as const) {
    it(`makes quotes an independent verifier accepts: ${JSON.stringify(shape)}`, () => {
      const platform = SimulatedPlatform.fromSeed(seed);
      const verdict = oracleVerdict(platform, platform.quote(td, reportData, shape), NOW);
      expect(verdict).toEqual({ status: "UpToDate", advisory_ids: [] });
    });
  }

  it("gives the same bytes for the same seed, as another process would", () => {
    const [a, b] = [SimulatedPlatform.fromSeed(seed), SimulatedPlatform.fromSeed(seed)];
    expect(a.quote(td, reportData)).toEqual(b.quote(td, reportData));
    expect(a.collateral(NOW)).toEqual(b.collateral(NOW));
    expect(a.rootSha256).toBe("f8984797862e8919aa05e795c1fe69f20f0732b0e4111a3e94b41a006f8ef72c");
  });

  it("has another root for another seed, under which nothing of this one verifies", () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(8));
    const quote = platform.quote(td, reportData);
    expect(() => oracleVerdict(platform, quote, NOW, other.rootCertificateDer)).toThrow();
  });

  it("keeps collateral the same for a day and makes it valid at once", () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    const midnight = NOW - (NOW % 86_400);
    expect(platform.collateral(midnight)).toEqual(platform.collateral(midnight + 86_399));
    const quote = platform.quote(td, reportData);
    for (const at of [midnight, midnight + 86_399])
      expect(oracleVerdict(platform, quote, at).status).toBe("UpToDate");
  });

  it("says in every certificate that it is not hardware, and keeps Intel's role phrases", () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    const { tcb_info_issuer_chain, pck_crl_issuer_chain } = platform.collateral(NOW);
    const names = [
      ...`${tcb_info_issuer_chain}${pck_crl_issuer_chain}`.matchAll(/-----BEGIN[^]+?END CERTIFICATE-----/g),
    ].map(([text]) => new X509Certificate(text).subject.split("\n")[0]);
    expect(names).toEqual([
      "CN=Simulated platform (NOT HARDWARE) SGX TCB Signing",
      "CN=Simulated platform (NOT HARDWARE) SGX Root CA",
      "CN=Simulated platform (NOT HARDWARE) SGX PCK Platform CA",
      "CN=Simulated platform (NOT HARDWARE) SGX Root CA",
    ]);
  });

  it("refuses a seed that is not 32 bytes", () => {
    expect(() => SimulatedPlatform.fromSeed(new Uint8Array(16))).toThrow("32 bytes, got 16");
  });

  it("does not quote a TDREPORT it did not make", () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    const report = platform.report(td, reportData);
    for (const offset of [128, 300, 528, 864]) {
      const forged = report.slice();
      forged[offset] = (forged[offset] ?? 0) ^ 1;
      expect(() => platform.quoteReport(forged)).toThrow(/MAC is wrong|own digests/);
    }
  });

  it.each([
    [
      "an outdated level",
      { componentSvns: [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0], pceSvn: 11 },
      "OutOfDate",
    ],
    [
      "a status of its own",
      { tcbStatus: "SWHardeningNeeded", tcbAdvisories: ["INTEL-SA-1"] },
      "SWHardeningNeeded",
    ],
    ["an outdated quoting enclave", { qe: { isvSvn: 3 } }, "OutOfDate"],
    ["the Processor CA", { ca: "processor" }, "UpToDate"],
  ] satisfies [string, SimulatedPlatformOptions, string][])("can be %s", (_name, options, status) => {
    expect(verdictOf(options).status).toBe(status);
  });

  it.each([
    ["revoked PCK", { revoked: ["pck"] }],
    ["expired PCK", { certificates: { pck: { notAfter: new Date("2021-01-01") } } }],
    ["foreign enclave", { qe: { mrSigner: new Uint8Array(32) } }],
    ["TCB info of another platform", { editTcbInfo: (info) => void (info.fmspc = "000000000000") }],
    ["short PCK chain", { pckChain: ["pck"] }],
    ["revoked level", { tcbStatus: "Revoked" }],
  ] satisfies [string, SimulatedPlatformOptions][])("can be bad: %s", (_name, options) => {
    expect(() => verdictOf(options)).toThrow();
  });

  it("can run a debug TD", () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    const tdAttributes = Uint8Array.of(1, 0, 0, 0x10, 0, 0, 0, 0);
    const provider = createSimulatedProvider({ platform, launch: bareLaunch(), td: { tdAttributes } });
    return expect(
      provider.getQuote(reportData).then((quote) => oracleVerdict(platform, quote, NOW)),
    ).rejects.toThrow();
  });
});
