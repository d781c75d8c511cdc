import { hex, sha384 } from "@dstack/core";
import type { EventLogEntry } from "../event-log.js";
import { acpiDigests, memoryInLog, rtmr0Events, rtmr1Events, rtmr2Events } from "./expected-events.js";
import type { ExpectedEvent, KnownEvent } from "./expected-events.js";
import type { Launch } from "./launch.js";
import { mrtd } from "./mrtd.js";
import { parseTdvf } from "./tdvf.js";

/** Where a value comes from that the image does not decide. */
export type Origin = "given" | "log" | "unknown";

/** What a TD measures when it starts, registers in hex. */
export interface ComputedMeasurements {
  readonly mrtd: string;
  /** Absent when ACPI digests or memory size are unknown: give a log. */
  readonly rtmr0: string | undefined;
  /** Absent only under QEMU before 10.0, when the memory size is unknown. */
  readonly rtmr1: string | undefined;
  readonly rtmr2: string;
  /**
   * The ACPI tables are the host's own and depend on every option of QEMU: their digests come out of the log. Then RTMR0
   * says nothing about them.
   */
  readonly acpi: "log" | "unknown";
  readonly memory: Origin;
  readonly memoryMib: number | undefined;
  readonly events: readonly ExpectedEvent[];
}

/**
 * Computes MRTD and RTMR0-2 of a TD that starts this firmware, kernel, initial RAM disk and command line.
 * @param log events of such a TD, from which the ACPI digests are taken
 * @throws {InputError} files that cannot start a TD, or a log of another kind of start
 */
export function computeMeasurements(launch: Launch, log?: readonly EventLogEntry[]): ComputedMeasurements {
  const sections = parseTdvf(launch.firmware);
  const memoryMib = launch.memoryMib ?? (log === undefined ? undefined : memoryInLog(sections, log));
  const acpi = log === undefined ? undefined : acpiDigests(log);
  const rtmr0 = rtmr0Events(sections, memoryMib, acpi);
  const rtmr1 = rtmr1Events(launch, memoryMib);
  const rtmr2 = rtmr2Events(launch);
  return {
    mrtd: hex(mrtd(sections, launch.host.pageOrder)),
    rtmr0: registerIfKnown(rtmr0),
    rtmr1: registerIfKnown(rtmr1),
    rtmr2: register(rtmr2),
    acpi: acpi === undefined ? "unknown" : "log",
    memory: launch.memoryMib !== undefined ? "given" : memoryMib === undefined ? "unknown" : "log",
    memoryMib,
    events: [...rtmr0, ...rtmr1, ...rtmr2],
  };
}

function registerIfKnown(events: readonly ExpectedEvent[]): string | undefined {
  return events.every(isKnown) ? register(events) : undefined;
}

function isKnown(event: ExpectedEvent): event is KnownEvent {
  return event.digest !== undefined;
}

/** A register after its events, hex. */
function register(events: readonly KnownEvent[]): string {
  const start: Uint8Array = new Uint8Array(48);
  return hex(events.reduce((value, { digest }) => sha384(value, Buffer.from(digest, "hex")), start));
}
