import type { ComputedMeasurements } from "./compute.js";
import type { Difference } from "./explain-difference.js";

/** Registers, and where the rest comes from, one line each. */
export function measurementLines(measured: ComputedMeasurements): string[] {
  const { mrtd, rtmr0, rtmr1, rtmr2, acpi, memory, memoryMib } = measured;
  const value = (register: string | undefined): string => register ?? "unknown";
  return [
    `mrtd   ${mrtd}`,
    `rtmr0  ${value(rtmr0)}`,
    `rtmr1  ${value(rtmr1)}`,
    `rtmr2  ${rtmr2}`,
    acpi === "log"
      ? "acpi: taken from the log"
      : "acpi: unknown; give the log of a VM of this shape to have rtmr0",
    ...(memoryMib === undefined
      ? ["memory: unknown; give the VM's memory or a log"]
      : [`memory: ${memoryMib} MiB${memory === "log" ? ", taken from the log" : ""}`]),
  ];
}

/** A difference in one line, such as `RTMR2 event 1: the command line differs: …`, and the two values. */
export function differenceLines({ register, event, explanation, expected, found }: Difference): string[] {
  return [
    `${register}${event === undefined ? "" : ` event ${event}`}: ${explanation}`,
    ...(expected === undefined ? [] : [`  expected ${expected}`]),
    ...(found === undefined ? [] : [`  found    ${found}`]),
  ];
}
