import { hex, sameBytes } from "@dstack/core";
import { replayEventLog } from "../event-log.js";
import type { EventLogEntry } from "../event-log.js";
import type { TdReportBody } from "../td-report.js";
import { computeMeasurements } from "./compute.js";
import type { ComputedMeasurements } from "./compute.js";
import { meaningOf } from "./difference-meaning.js";
import type { Start } from "./difference-meaning.js";
import { memoryInLog } from "./expected-events.js";
import type { ExpectedEvent } from "./expected-events.js";
import type { Launch } from "./launch.js";
import { mrtd } from "./mrtd.js";
import type { Observed } from "./observed.js";
import { parseTdvf } from "./tdvf.js";

/** The first place where what ran is not what was expected. */
export interface Difference {
  readonly register: "MRTD" | "RTMR0" | "RTMR1" | "RTMR2" | "RTMR3";
  /** Which event of the register, from 1 on; absent where no event differs. */
  readonly event: number | undefined;
  /** What it means, one sentence or two. */
  readonly explanation: string;
  /** Digests or register values in hex; absent where there is none. */
  readonly expected: string | undefined;
  readonly found: string | undefined;
}

export interface MeasurementComparison {
  /** Absent when everything is as expected, what was taken from the log excepted. */
  readonly difference: Difference | undefined;
  /** Absent when the log does not allow to compute them: `difference` says why. */
  readonly computed: ComputedMeasurements | undefined;
}

/**
 * Compares a log, event by event, with what an image measures, and explains the first difference. It looks at MRTD,
 * then at RTMR0, 1 and 2, then whether the log is the quote's at all. It is a help for people: a log that somebody made
 * up can show any difference, or none. Only registers of a verified quote prove something.
 * @throws {InputError} an image that cannot start a TD
 */
export function explainMeasurements(launch: Launch, observed: Observed): MeasurementComparison {
  const { log, body } = observed;
  const logMemoryMib = memoryInLog(parseTdvf(launch.firmware), log);
  const alone = computeMeasurements({ ...launch, memoryMib: launch.memoryMib ?? logMemoryMib });
  const difference =
    (body && differentMrtd(launch, alone, body)) ??
    simulatedPlatform(log) ??
    differentEvent({ launch, memoryMib: alone.memoryMib, logMemoryMib }, alone.events, log);
  if (difference !== undefined) return { difference, computed: undefined };
  return { difference: body && differentLog(log, body), computed: computeMeasurements(launch, log) };
}

function differentMrtd(
  launch: Launch,
  computed: ComputedMeasurements,
  body: TdReportBody,
): Difference | undefined {
  const found = hex(body.mrTd);
  if (found === computed.mrtd) return undefined;
  const otherOrder = launch.host.pageOrder === "page-by-page" ? "pages-then-contents" : "page-by-page";
  const sameFirmware = hex(mrtd(parseTdvf(launch.firmware), otherOrder)) === found;
  const explanation = sameFirmware
    ? "the firmware is the image's, but the host added its pages in the other order: give the version of QEMU " +
      "(8 adds all pages before it measures contents, later ones page by page)"
    : "the firmware is not the image's";
  return { register: "MRTD", event: undefined, explanation, expected: computed.mrtd, found };
}

/** Its events of the boot have names; those that firmware makes have none. */
function simulatedPlatform(log: readonly EventLogEntry[]): Difference | undefined {
  const entry = log.find(({ imr, event }) => imr === 0 && event === "td-hob");
  if (entry === undefined) return undefined;
  const explanation =
    "the log is of the simulated platform, which measures in its own way: `dstack verify` knows its registers";
  return { register: "RTMR0", event: 1, explanation, expected: undefined, found: entry.digest };
}

function differentEvent(
  start: Start,
  events: readonly ExpectedEvent[],
  log: readonly EventLogEntry[],
): Difference | undefined {
  for (const imr of [0, 1, 2] as const) {
    const expected = events.filter((event) => event.imr === imr);
    const found = log.filter((entry) => entry.imr === imr);
    const index = Array.from({ length: Math.max(expected.length, found.length) }, (_, i) => i).find(
      (i) => !isSame(expected[i], found[i]),
    );
    if (index === undefined) continue;
    return {
      register: (["RTMR0", "RTMR1", "RTMR2"] as const)[imr],
      event: index + 1,
      explanation: meaningOf(start, expected[index], found[index]),
      expected: expected[index]?.digest,
      found: found[index]?.digest,
    };
  }
  return undefined;
}

/** An event without a digest of its own is only known by its type: the ACPI tables are the host's. */
function isSame(expected: ExpectedEvent | undefined, found: EventLogEntry | undefined): boolean {
  if (expected === undefined || found === undefined || expected.eventType !== found.event_type) return false;
  if (expected.digest === undefined) return expected.subject === "acpi";
  return expected.digest === found.digest;
}

function differentLog(log: readonly EventLogEntry[], body: TdReportBody): Difference | undefined {
  const registers = ["RTMR0", "RTMR1", "RTMR2", "RTMR3"] as const;
  for (const [i, replayed] of replayEventLog(log).entries()) {
    const quoted = body.rtmr[i];
    const register = registers[i];
    if (quoted === undefined || register === undefined || sameBytes(replayed, quoted)) continue;
    const explanation =
      "the events are as expected, but replaying the log does not give the quote's register: it is not its log";
    return { register, event: undefined, explanation, expected: hex(replayed), found: hex(quoted) };
  }
  return undefined;
}
