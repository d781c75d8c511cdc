import { INTEL_ROOT, simulatedAnchor, verifyEvidence, verifyQuote } from "@dstack/attestation";
import { describe, expect, it } from "vitest";
import {
  RuntimeEventLog,
  SimulatedPlatform,
  type SimulatedPlatformOptions,
  createSimulatedProvider,
} from "../../src/index.js";
import { tempDir } from "../temp-dir.js";

const NOW = 1_790_000_000;
const seed = new Uint8Array(32).fill(7);
const reportData = new Uint8Array(64).fill(3);

async function verify(
  options: SimulatedPlatformOptions = {},
  root?: string,
): Promise<ReturnType<typeof verifyQuote>> {
  const platform = SimulatedPlatform.fromSeed(seed, options);
  const quote = await createSimulatedProvider({ platform }).getQuote(reportData);
  const anchors = [simulatedAnchor(root ?? platform.rootCertificatePem)];
  return verifyQuote({ quote, collateral: platform.collateral(NOW), now: NOW, anchors });
}

describe("the simulated platform under our verifier", () => {
  for (const shape of [{}, { version: 5 }, { version: 5, bodyType: 2 }, { padding: 70 }] as const) {
    it(`is a good platform: ${JSON.stringify(shape)}`, async () => {
      const platform = SimulatedPlatform.fromSeed(seed);
      const quote = await createSimulatedProvider({ platform, quote: shape }).getQuote(reportData);
      const anchors = [INTEL_ROOT, simulatedAnchor(platform.rootCertificatePem)];
      const verified = verifyQuote({ quote, collateral: platform.collateral(NOW), now: NOW, anchors });
      expect(verified).toMatchObject({
        anchor: "simulated",
        status: "UpToDate",
        advisories: [],
        fmspc: platform.fmspc,
        ppid: Buffer.from(platform.ppid).toString("hex"),
      });
    });
  }

  it("has the anchor that it says it has", () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    expect(simulatedAnchor(platform.rootCertificatePem).sha256).toBe(platform.rootSha256);
  });

  it("E10: is nobody under Intel's root, nor under the root of another seed", async () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    const quote = await createSimulatedProvider({ platform }).getQuote(reportData);
    const input = { quote, collateral: platform.collateral(NOW), now: NOW };
    expect(() => verifyQuote({ ...input, anchors: [INTEL_ROOT] })).toThrow(/root/);
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32));
    await expect(verify({}, other.rootCertificatePem)).rejects.toThrow(/root/);
  });

  it("gives evidence of a whole boot", async () => {
    const platform = SimulatedPlatform.fromSeed(seed);
    const provider = createSimulatedProvider({ platform });
    const log = await RuntimeEventLog.open({ provider, path: `${await tempDir()}/log/events.log` });
    const id = new Uint8Array(20).fill(7);
    await log.extend("system-preparing", new Uint8Array());
    await log.extend("rootfs-hash", new Uint8Array(32));
    await log.extend("app-id", id);
    await log.extend("compose-hash", new Uint8Array(32).fill(7));
    await log.extend("upgraded-app-id", id);
    await log.extend("ca-cert-hash", new Uint8Array(32));
    await log.extend("instance-id", id);
    await log.extend("boot-mr-done", new Uint8Array());
    const { quote, eventLog } = await log.quote(reportData);
    const anchors = [simulatedAnchor(platform.rootCertificatePem)];
    const collateral = platform.collateral(NOW);
    const evidence = verifyEvidence({ quote, eventLog, collateral, now: NOW, anchors, reportData });
    expect(evidence.identity).toMatchObject({ appId: "07".repeat(20), bootMrDone: true });
  });

  const outdatedModule: SimulatedPlatformOptions["editTcbInfo"] = (info) => {
    for (const module of info.tdxModuleIdentities) {
      for (const level of module.tcbLevels) level.tcbStatus = "OutOfDate";
    }
  };
  it.each([
    ["outdated platform", { componentSvns: [2, 2, 2, 2, 3, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0] }, "OutOfDate"],
    ["own status", { tcbStatus: "SWHardeningNeeded", tcbAdvisories: ["INTEL-SA-1"] }, "SWHardeningNeeded"],
    ["outdated enclave", { qe: { isvSvn: 3 } }, "OutOfDate"],
    ["outdated module", { editTcbInfo: outdatedModule }, "OutOfDate"],
    ["Processor CA", { ca: "processor" }, "UpToDate"],
  ] satisfies [string, SimulatedPlatformOptions, string][])(
    "can have: %s",
    async (_what, options, status) => {
      expect((await verify(options)).status).toBe(status);
    },
  );

  const past = new Date("2021-01-01T00:00:00Z");
  it.each([
    ["revoked PCK", "the PCK certificate is revoked", { revoked: ["pck"] }],
    ["revoked CA", "the PCK CA certificate is revoked", { revoked: ["pckCa"] }],
    ["revoked TCB signer", "the TCB signing certificate is revoked", { revoked: ["tcbSigning"] }],
    ["expired PCK", "the PCK certificate was valid until", { certificates: { pck: { notAfter: past } } }],
    ["expired root", "the root certificate was valid until", { certificates: { root: { notAfter: past } } }],
    ["CA that is none", "PCK CRL issuer chain", { certificates: { pckCa: { ca: false } } }],
    [
      "PCK issued by another PCK",
      "verifying PCK certificate chain",
      { certificates: { pck: { issuer: "otherPck" } }, pckChain: ["pck", "otherPck", "root"] },
    ],
    ["TCB info signed by a PCK", "verifying TCB info issuer chain", { tcbChain: ["pck", "pckCa"] }],
    ["expired root CRL", "the root CRL was valid until", { rootCrl: { nextUpdate: past } }],
    ["CRL of another CA", "PCK CRL was issued by another CA", { pckCrl: { issuer: "root" } }],
    [
      "CRL signed by somebody else",
      "PCK CRL is not signed by its issuer",
      { pckCrl: { signer: "tcbSigning" } },
    ],
    ["empty CRL", "reading root CRL", { rootCrl: { edit: () => new Uint8Array() } }],
    ["foreign FMSPC", "published for another", { editTcbInfo: (info) => void (info.fmspc = "00A06D080000") }],
    ["foreign PCEID", "published for another", { editTcbInfo: (info) => void (info.pceId = "0001") }],
    [
      "unknown module",
      "does not know the TDX mo",
      { editTcbInfo: (info) => void (info.tdxModuleIdentities = []) },
    ],
    ["foreign enclave", "the quoting enclave is not", { qe: { mrSigner: new Uint8Array(32) } }],
    ["revoked level", "TCB level of this platform is revoked", { tcbStatus: "Revoked" }],
    ["unknown status", "reading TCB info", { tcbStatus: "Fine" }],
  ] satisfies [string, string, SimulatedPlatformOptions][])(
    "E1: can be a bad one: %s",
    async (_what, reason, options) => {
      await expect(verify(options)).rejects.toThrow(reason);
    },
  );
});
