import { PolicyConfig, allowedImage, runtimeEvent } from "@dstack/attestation";
import type { AppId } from "@dstack/core";
import { fromHex, hex, parseAppId, sha256 } from "@dstack/core";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "@dstack/tdx-attest";
import { expect, it } from "vitest";
import { appReportData, formatReport, verifyAppQuote } from "../src/verify/app-quote.js";
import type { Expectation, VerifyReport } from "../src/verify/app-quote.js";

const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(6));
const launch = bareLaunch("verify tests");
const now = Math.floor(Date.now() / 1000);
const compose = sha256("compose");
const appId: AppId = parseAppId(hex(compose.subarray(0, 20)));
const reportData = appReportData(new Uint8Array(32).fill(1));
const ourKms = sha256("our KMS");

/** The verdict on a VM with the genuine image and app whose KMS is the one of this hash. */
async function verdict(kms: Uint8Array, expected: Partial<Expectation>): Promise<VerifyReport> {
  const provider = createSimulatedProvider({ platform, launch });
  const none = new Uint8Array(0);
  const events = [
    runtimeEvent("system-preparing", none),
    runtimeEvent("rootfs-hash", sha256("rootfs")),
    runtimeEvent("app-id", fromHex(appId, "app id")),
    runtimeEvent("compose-hash", compose),
    runtimeEvent("upgraded-app-id", compose.subarray(0, 20)),
    runtimeEvent("ca-cert-hash", kms),
    runtimeEvent("instance-id", sha256("instance").subarray(0, 20)),
    runtimeEvent("boot-mr-done", none),
    runtimeEvent("system-ready", none),
  ];
  for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
  const quote = await provider.getQuote(reportData);
  const eventLog = JSON.stringify([...(await provider.bootEvents()), ...events]);
  return verifyAppQuote(
    { quote, eventLog },
    { reportData, appId, composeHash: hex(compose), ...expected },
    {
      collateral: platform.collateral(now),
      anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
      policy: PolicyConfig.parse({
        insecure_simulated_roots: ["root.pem"],
        images: { allowed: [allowedImage("tests", launch)] },
      }),
      now,
    },
  );
}

it("K3: refuses the right app on the keys of somebody else's KMS", async () => {
  const expected = { caCertHash: hex(ourKms) };
  expect((await verdict(ourKms, expected)).verified).toBe(true);
  const foreign = await verdict(sha256("a KMS of the host's own"), expected);
  expect(foreign.verified).toBe(false);
  expect(foreign.checks.filter((check) => !check.ok).map((check) => check.name)).toEqual([
    "hash of the KMS's CA",
  ]);
});

it("says what was not checked", async () => {
  const report = await verdict(ourKms, {});
  expect(formatReport(report)).toContain(`hash of the KMS's CA: NOT CHECKED, it is ${hex(ourKms)}`);
});
