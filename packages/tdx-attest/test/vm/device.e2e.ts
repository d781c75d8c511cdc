/**
 * The device path in a VM: our addon and provider against Linux's own CUSE, configfs-tsm, sysfs and vsock, with a
 * simulated platform behind them. One VM makes all the assertions; each is a test here.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { INTEL_ROOT, parseEventLog, replayEventLog, simulatedAnchor, verifyQuote } from "@dstack/attestation";
import { fromHex, hex } from "@dstack/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chapters } from "./guest/chapters.js";
import type { Line } from "./guest/chapter.js";
import { platform } from "./guest/platform.js";
import { type Outcome, buildMachine, cannotRun, runMachine } from "./machine.js";

const reason = await cannotRun();
if (reason !== undefined) console.log(`the device tests in a VM are skipped: ${reason}`);

const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, "base64"));

/** For a very busy host; a minute is enough where little else runs. */
const VM_LIMIT_MS = 1_500_000;

describe.skipIf(reason !== undefined)("the TDX device path on Linux 6.12", () => {
  let dir = "";
  let outcome: Outcome;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "dstack-device-vm-"));
    outcome = await runMachine(await buildMachine(dir), dir, VM_LIMIT_MS);
    const slowest = outcome.lines
      .flatMap((line) => ("assertion" in line ? [line] : []))
      .toSorted((a, b) => b.ms - a.ms)[0];
    console.log(
      `the VM took ${outcome.seconds.toFixed(0)} s, most for "${slowest?.assertion}": ${slowest?.ms} ms`,
    );
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  const tail = (): string => `; the console's end:\n${outcome.console.slice(-3000)}`;
  const evidence = (name: string): Extract<Line, { evidence: string }> => {
    const found = outcome.lines.find((line) => "evidence" in line && line.evidence === name);
    if (found === undefined || !("evidence" in found))
      throw new Error(`the VM gave no quote "${name}"${tail()}`);
    return found;
  };

  for (const { title, assertions } of chapters) {
    describe(title, () => {
      it.each(Object.keys(assertions))("%s", (assertion) => {
        const line = outcome.lines.find(
          (one) => "assertion" in one && one.chapter === title && one.assertion === assertion,
        );
        if (line === undefined || !("assertion" in line))
          throw new Error(`the VM did not get there${tail()}`);
        if (line.error !== undefined) throw new Error(line.error);
      });
    });
  }

  describe("the VM's quotes on this host", () => {
    const now = Math.floor(Date.now() / 1000);
    const collateral = platform.collateral(now);

    it.each(["vsock", "configfs", "event log"])("verify under the simulator's root: by %s", (name) => {
      const quote = bytes(evidence(name).quote);
      const anchors = [simulatedAnchor(platform.rootCertificatePem)];
      expect(verifyQuote({ quote, collateral, now, anchors })).toMatchObject({
        anchor: "simulated",
        status: "UpToDate",
      });
    });

    it("E10: do not verify under Intel's root", () => {
      const quote = bytes(evidence("configfs").quote);
      expect(() => verifyQuote({ quote, collateral, now, anchors: [INTEL_ROOT] })).toThrow(/root/);
    });

    it("E2: have the registers that their event log replays to", () => {
      const { quote, eventLog = "" } = evidence("event log");
      const anchors = [simulatedAnchor(platform.rootCertificatePem)];
      const verified = verifyQuote({ quote: bytes(quote), collateral, now, anchors });
      const events = parseEventLog(eventLog);
      expect(replayEventLog(events).map(hex)).toEqual(verified.body.rtmr.map(hex));
      expect(events.findLast((event) => event.imr === 3)).toMatchObject({ event: "app-id" });
      expect(verified.body.reportData).toEqual(fromHex("2a".repeat(64)));
    });
  });
});
