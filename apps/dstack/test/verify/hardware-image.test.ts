import {
  PolicyConfig,
  explain,
  formatTree,
  group,
  leavesOf,
  replayEventLog,
  simulatedAnchor,
  verdictOf,
} from "@dstack/attestation";
import type { EventLogEntry, Missing } from "@dstack/attestation";
import { fromHex, hex, sha384 } from "@dstack/core";
import { expectedMeasurements } from "@dstack/tdx-attest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeFirmware, makeKernel, noise } from "../../../../packages/attestation/test/measurement/files.js";
import { startLog, writeTdxImage } from "../../../../packages/tdx-attest/test/fixtures/tdx-image.js";
import type { TdxImageChanges } from "../../../../packages/tdx-attest/test/fixtures/tdx-image.js";
import { firstDifference } from "../../src/verify/first-difference.js";
import { compareWith, readGivenImage } from "../../src/verify/given-image.js";
import type { GivenImage } from "../../src/verify/given-image.js";
import { appReportData } from "../../src/verify/quote-file.js";
import { NONCE, Site, verify } from "./site.js";

// No test can make a quote that Intel's root vouches for. So a simulated platform signs registers as hardware makes them,
// and the comparison is told that they are hardware's, which `dstack verify` decides by the root alone.

let site: Site;
let dir: string;
let image: GivenImage;

beforeAll(async () => {
  site = await Site.open();
  dir = await writeTdxImage(site.path("tdx-image"));
  image = await readGivenImage(dir, true);
});
afterAll(() => site[Symbol.asyncDispose]());

interface Started {
  readonly changes?: TdxImageChanges;
  readonly memoryMib?: number;
  /** Events of RTMR0-2, where they are not those of the start. */
  readonly edit?: (events: readonly EventLogEntry[]) => EventLogEntry[];
}

/** A quote, with its log, of a TD that started this image, or a changed one. */
async function evidenceOf({ changes = {}, memoryMib = 2048, edit = (events) => [...events] }: Started = {}) {
  const started = await writeTdxImage(site.path("started"), changes);
  const events = edit(await startLog(started, { memoryMib }));
  const { mrtd } = await expectedMeasurements(started);
  const [rtmr0, rtmr1, rtmr2] = replayEventLog(events);
  const launch = { mrtd, rtmr0: hex(rtmr0), rtmr1: hex(rtmr1), rtmr2: hex(rtmr2), events };
  return site.answer({ parts: { launch } });
}

/** What `dstack verify --image` makes of evidence that it takes for hardware's. */
async function judged(evidence: { quote: string; event_log: string | Missing }, given = image) {
  const { allowed, remarks } = await compareWith(given, "intel", evidence.event_log);
  const now = Math.floor(Date.now() / 1000);
  const explanation = explain({
    quote: fromHex(evidence.quote),
    eventLog: evidence.event_log,
    reportData: appReportData(fromHex(NONCE)),
    collateral: site.platform.collateral(now),
    now,
    anchors: [simulatedAnchor(site.platform.rootCertificatePem)],
    policy: PolicyConfig.parse({
      images: { allow_all: allowed.length === 0, allowed },
      insecure_simulated_roots: ["root.pem"],
    }),
  });
  const { tree, quote } = explanation;
  const hardware = quote && { ...explanation, quote: { ...quote, anchor: "intel" as const } };
  const difference =
    hardware === undefined || typeof evidence.event_log !== "string"
      ? []
      : await firstDifference(given, hardware, evidence.event_log);
  const whole = group("evidence", [...tree.children, ...remarks]);
  const details = (outcome: "fail" | "skipped"): string[] =>
    leavesOf(whole, outcome).map(({ check, detail }) => `${check}: ${detail}`);
  const why = difference.map(({ detail }) => detail).join();
  return { verdict: verdictOf(whole), refused: details("fail"), open: details("skipped"), why, whole };
}

/** Its code is longer, its memory sections are the same. */
const otherFirmware = makeFirmware(noise(8192, 1), 20_480);

/** With another digest for the event of RTMR0 at this place. */
const withDigest =
  (index: number, of: string) =>
  (events: readonly EventLogEntry[]): EventLogEntry[] =>
    events.map((event, i) => (i === index ? { ...event, digest: hex(sha384(of)) } : event));

describe("dstack verify --image on hardware", () => {
  it("E9: takes the image's own registers, and tells that ACPI tables and memory are the log's", async () => {
    const { verdict, refused, open, why, whole } = await judged(await evidenceOf());
    expect(verdict, refused.join()).toBe("verified");
    expect(why).toBe("");
    expect(open).toEqual([expect.stringMatching(/^ACPI tables: RTMR0 is compared with the ACPI digests of/)]);
    expect(formatTree(whole)).toMatch(/image tdx-image: its registers are computed .*; memory 2048 MiB, as/);
    expect((await judged(await evidenceOf({ memoryMib: 4096 }))).verdict).toBe("verified");
  });

  it.each<[string, Started, RegExp]>([
    [
      "rtmr0",
      { changes: { firmware: makeFirmware(noise(8192, 7)) } },
      /^RTMR0 event 2: the firmware's store/,
    ],
    ["mrtd", { changes: { firmware: otherFirmware } }, /^MRTD: the firmware is not the image's/],
    ["rtmr0", { edit: withDigest(2, "Secure Boot is on") }, /^RTMR0 event 3: the EFI variable SecureBoot/],
    ["rtmr1", { changes: { kernel: makeKernel({ trailing: 8 }) } }, /^RTMR1 event 1: the kernel/],
    ["rtmr2", { changes: { cmdline: "console=ttyS0 init=/bin/sh" } }, /^RTMR2 event 1: the command line/],
    ["rtmr2", { changes: { initrd: noise(5000, 8) } }, /^RTMR2 event 2: the init/],
  ])("E9: refuses another %s, and names the event", async (register, started, event) => {
    const { verdict, refused, why } = await judged(await evidenceOf(started));
    expect(verdict).toBe("refused");
    expect(why).toMatch(event);
    expect(refused).toEqual([
      expect.stringMatching(`^image: no allowed image has .*${register} [0-9a-f]{96}`),
    ]);
  });

  it("E9: could not tell of ACPI tables that nothing pins, unless any will do", async () => {
    const evidence = await evidenceOf({ edit: withDigest(9, "hostile tables") });
    const anyAcpi = await judged(evidence);
    expect([anyAcpi.verdict, anyAcpi.open.length]).toEqual(["verified", 1]);
    const strict = await judged(evidence, await readGivenImage(dir));
    expect(strict.verdict).toBe("unknown");
    expect(strict.open).toEqual(anyAcpi.open);
  });

  it("E2: refuses a log whose ACPI digests are not the quote's", async () => {
    const evidence = await evidenceOf();
    const other = await evidenceOf({ edit: withDigest(9, "other tables") });
    const { refused } = await judged({ quote: evidence.quote, event_log: other.event_log });
    expect(refused).toEqual([
      expect.stringMatching(/^replay of RTMR0: /),
      expect.stringMatching(/^image: no allowed image has rtmr0 /),
    ]);
  });

  it.each<[string, NonNullable<Started["edit"]>, RegExp]>([
    ["a list of memory that fits no size", withDigest(0, "memory"), /list of memory is none/],
    ["the events of another firmware", (events) => events.toSpliced(9, 1), /has 2 events/],
  ])("E9: could not tell of %s, unless another register refuses", async (_, edit, sentence) => {
    const { verdict, open } = await judged(await evidenceOf({ edit }));
    expect(verdict).toBe("unknown");
    expect(open).toEqual([
      expect.stringMatching(/^VM shape and ACPI tables: RTMR0 may be any/),
      expect.stringMatching(sentence),
    ]);
    const changes = { firmware: otherFirmware };
    expect((await judged(await evidenceOf({ edit, changes }))).verdict).toBe("refused");
  });

  it("E9: could not tell without a log, or of an image that starts no TD", async () => {
    const { quote, event_log } = await evidenceOf();
    const alone = await judged({ quote, event_log: { missing: "no event log was given" } });
    expect(alone.verdict).toBe("unknown");
    expect(alone.open).toContain("RTMR0 of tdx-image: no event log was given");
    const other = await readGivenImage(site.path("dstack-test"));
    const bare = await judged({ quote, event_log }, other);
    expect(bare.verdict).toBe("unknown");
    expect(bare.open.at(-1)).toMatch(/^image dstack-test: .*names no bios, so it cannot start a TD$/);
  });
});

it("E10: compares a simulated platform's quote with its own registers alone", async () => {
  const quote = await site.write("hardware.json", JSON.stringify(await evidenceOf()));
  const { code, out } = await verify(
    quote,
    "--nonce",
    NONCE,
    ...site.trusting,
    ...site.compose,
    "--image",
    dir,
  );
  expect(code).toBe(1);
  expect(out).toMatch(/^REFUSED: image: no allowed image has mrtd .*; the nearest is tdx-image$/m);
});
