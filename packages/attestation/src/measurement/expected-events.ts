import { InputError, concatBytes, hex, sha384 } from "@dstack/core";
import type { EventLogEntry } from "../event-log.js";
import { authenticodeSha384 } from "./authenticode.js";
import type { Launch } from "./launch.js";
import { patchSetupHeader } from "./setup-header.js";
import { memoryOfTdHob, tdHob } from "./td-hob.js";
import { SECTION } from "./tdvf.js";
import type { TdvfSection } from "./tdvf.js";
import {
  BOOT_ORDER,
  EVENT,
  SECURE_BOOT_VARIABLES,
  SEPARATOR,
  bootOptionUiApp,
  digestOf,
  emptyVariable,
  utf16,
} from "./uefi.js";

/** What an event is of, for the explanation of a difference. */
export type EventSubject =
  | "memory"
  | "variable-store"
  | "secure-boot"
  | "acpi"
  | "boot-option"
  | "kernel"
  | "cmdline"
  | "initrd"
  | "constant";

/** One event that a start must make, in the order of its register. */
export interface ExpectedEvent {
  readonly imr: 0 | 1 | 2;
  readonly eventType: number;
  readonly subject: EventSubject;
  /** For people: `PK`, `kernel command line`. */
  readonly name: string;
  /** Hex of 48 bytes; absent where only a log can tell and none was given. */
  readonly digest: string | undefined;
}

/** An event whose digest follows from the image. */
export type KnownEvent = ExpectedEvent & { readonly digest: string };

/** QEMU's table loader, the RSDP and the tables, as fw_cfg delivers them. */
const ACPI_EVENTS = ["ACPI table loader", "ACPI RSDP", "ACPI tables"] as const;

const known = (
  imr: 0 | 1 | 2,
  eventType: number,
  subject: EventSubject,
  name: string,
  measured: Uint8Array | string,
): KnownEvent => ({ imr, eventType, subject, name, digest: digestOf(measured) });

const separator = (imr: 0 | 1): KnownEvent => known(imr, EVENT.separator, "constant", "separator", SEPARATOR);

/**
 * The events of RTMR0 under OVMF of edk2 up to 2025.02.
 * @param acpi the three digests, or nothing when nobody knows them
 * @throws {InputError} a VM without the memory the firmware needs
 */
export function rtmr0Events(
  sections: readonly TdvfSection[],
  memoryMib: number | undefined,
  acpi: readonly string[] | undefined,
): ExpectedEvent[] {
  const memory = memoryMib === undefined ? undefined : digestOf(tdHob(sections, memoryMib));
  const variables = sections.find((section) => section.type === SECTION.cfv)?.data ?? new Uint8Array();
  return [
    {
      imr: 0,
      eventType: EVENT.handoffTables,
      subject: "memory",
      name: "list of memory (TD HOB)",
      digest: memory,
    },
    known(0, EVENT.firmwareBlob, "variable-store", "variable store (CFV)", variables),
    ...SECURE_BOOT_VARIABLES.map((variable) =>
      known(0, EVENT.variableDriverConfig, "secure-boot", variable.name, emptyVariable(variable)),
    ),
    separator(0),
    ...ACPI_EVENTS.map(
      (name, i) =>
        ({ imr: 0, eventType: EVENT.platformConfigFlags, subject: "acpi", name, digest: acpi?.[i] }) as const,
    ),
    known(0, EVENT.variableBoot, "boot-option", "BootOrder", BOOT_ORDER),
    known(0, EVENT.variableBoot, "boot-option", "Boot0000", bootOptionUiApp()),
  ];
}

/**
 * The events of RTMR1.
 * @throws {InputError} a kernel that firmware cannot start
 */
export function rtmr1Events(launch: Launch, memoryMib: number | undefined): ExpectedEvent[] {
  const action = (text: string): KnownEvent => known(1, EVENT.efiAction, "constant", `"${text}"`, text);
  const digest = kernelDigest(launch, launch.host.kernel, memoryMib);
  return [
    { imr: 1, eventType: EVENT.bootServicesApplication, subject: "kernel", name: "kernel", digest },
    action("Calling EFI Application from Boot Option"),
    separator(1),
    action("Exit Boot Services Invocation"),
    action("Exit Boot Services Returned with Success"),
  ];
}

/**
 * The events of RTMR2: what the kernel's EFI stub measures.
 * @throws {InputError} a command line that does not arrive unchanged
 */
export function rtmr2Events({ cmdline, initrd }: Launch): KnownEvent[] {
  return [
    known(2, EVENT.eventTag, "cmdline", "kernel command line", loadOptions(cmdline)),
    known(2, EVENT.eventTag, "initrd", "initial RAM disk", initrd),
  ];
}

/** Authenticode digest of the kernel, hex; absent where it depends on a memory size that nobody knows. */
export function kernelDigest(
  { kernel, initrd, cmdline }: Launch,
  form: "as-is" | "patched",
  memoryMib: number | undefined,
): string | undefined {
  if (form === "as-is") return hex(authenticodeSha384(kernel));
  if (memoryMib === undefined) return undefined;
  const options = { initrdBytes: initrd.length, memoryMib, cmdline };
  return hex(authenticodeSha384(patchSetupHeader(kernel, options)));
}

/**
 * The load options of the kernel, which its EFI stub measures: OVMF appends the name of the initial RAM disk; with end
 * mark.
 * @throws {InputError} characters that firmware and kernel do not pass on unchanged
 */
function loadOptions(cmdline: string): Uint8Array {
  if (/[^\x20-\x7e]/.test(cmdline)) throw new InputError("the command line must be printable ASCII");
  return concatBytes(utf16(`${cmdline} initrd=initrd`), new Uint8Array(2));
}

/**
 * The three digests of ACPI data in a log, in order.
 * @throws {InputError} a log with another number of them
 */
export function acpiDigests(log: readonly EventLogEntry[]): string[] {
  const digests = log
    .filter((e) => e.imr === 0 && e.event_type === EVENT.platformConfigFlags)
    .map((e) => e.digest);
  if (digests.length !== ACPI_EVENTS.length) {
    throw new InputError(
      `the log has ${digests.length} events of platform configuration in RTMR0, but a start under OVMF up to 2025.02 ` +
        `measures ${ACPI_EVENTS.length} (ACPI data): it is the log of another firmware or of another platform`,
    );
  }
  return digests;
}

/** The memory size, in MiB, that the first event of the log's RTMR0 stands for. */
export function memoryInLog(
  sections: readonly TdvfSection[],
  log: readonly EventLogEntry[],
): number | undefined {
  const first = log.find((entry) => entry.imr === 0);
  if (first === undefined) return undefined;
  const digest = Buffer.from(first.digest, "hex");
  return memoryOfTdHob(sections, (list) => digest.equals(sha384(list)));
}
