import { InputError, assertNever } from "@dstack/core";
import type { EventLogEntry } from "../event-log.js";
import { eventText } from "./event-text.js";
import { kernelDigest } from "./expected-events.js";
import type { ExpectedEvent } from "./expected-events.js";
import type { Launch } from "./launch.js";
import { EVENT } from "./uefi.js";

/** What was expected to start, and what the log says of the memory, in MiB. */
export interface Start {
  readonly launch: Launch;
  /** The memory that the expected events are computed with. */
  readonly memoryMib: number | undefined;
  /** The memory that the log's first event stands for, if any does. */
  readonly logMemoryMib: number | undefined;
}

/** What it means that these two events, at the same place of a register, are not the same. */
export function meaningOf(
  start: Start,
  expected: ExpectedEvent | undefined,
  found: EventLogEntry | undefined,
): string {
  if (found === undefined) {
    return `the log ends here, ${expected?.name ?? "an event"} is missing: it is no log of a VM that has started`;
  }
  if (expected === undefined) {
    return `${eventText(found)} follows, though nothing more was to be measured${afterword(found)}`;
  }
  if (found.event_type !== expected.eventType) {
    return `${eventText(found)} stands where ${expected.name} was expected${afterword(found)}`;
  }
  switch (expected.subject) {
    case "memory":
      return memoryMeaning(start);
    case "variable-store":
      return "the firmware's store of variables differs: another firmware file, or one in which variables were set";
    case "secure-boot":
      return `the EFI variable ${expected.name} differs: the firmware has Secure Boot set up, the image's has not`;
    case "boot-option":
      return `${expected.name} differs: another version of the firmware, or QEMU has other devices to boot from`;
    case "kernel":
      return kernelMeaning(start, found);
    case "cmdline":
      return `the command line differs: it is not "${start.launch.cmdline}"`;
    case "initrd":
      return "the initial RAM disk differs";
    case "acpi":
    case "constant":
      return `${expected.name} differs, which is the same in every start: the log is damaged or made up`;
    default:
      return assertNever(expected.subject);
  }
}

function memoryMeaning({ memoryMib, logMemoryMib }: Start): string {
  return logMemoryMib === undefined
    ? "the list of memory fits no usual memory size: another firmware, or a machine that is no q35"
    : `the VM has ${logMemoryMib} MiB of memory, not ${memoryMib}`;
}

function kernelMeaning({ launch, memoryMib }: Start, found: EventLogEntry): string {
  const other = launch.host.kernel === "as-is" ? "patched" : "as-is";
  if (digestIfAny(launch, other, memoryMib) !== found.digest) return "the kernel differs";
  return other === "as-is"
    ? "the kernel is the image's own file: the host has QEMU 10.0 or later; give its version"
    : "the kernel is the image's, but with QEMU's entries in its header: the host has QEMU before 10.0, or the " +
        "firmware is older than 2025.02; in the first case give the version of QEMU";
}

function digestIfAny(
  launch: Launch,
  form: "as-is" | "patched",
  memoryMib: number | undefined,
): string | undefined {
  try {
    return kernelDigest(launch, form, memoryMib);
  } catch (err) {
    // The other form is a guess; that it does not exist for this kernel answers it.
    if (err instanceof InputError) return undefined;
    throw err;
  }
}

/** What an event that is out of place says about the firmware. */
function afterword({ event_type, event_payload }: EventLogEntry): string {
  const payload = Buffer.from(event_payload, "hex").toString("latin1");
  return event_type === EVENT.platformConfigFlags && payload.startsWith("QEMU FW CFG")
    ? ": the firmware is of edk2 2025.05 or later, whose events are not known here"
    : "";
}
