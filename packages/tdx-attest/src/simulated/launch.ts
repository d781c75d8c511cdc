import type { EventLogEntry } from "@dstack/attestation";
import { concatBytes, hex, sha384 } from "@dstack/core";
import { requireLength } from "../lengths.js";

/** What a VM measures when it starts: registers in hex, and the events that replay to RTMR0-2. */
export interface LaunchMeasurements {
  readonly mrtd: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly events: readonly EventLogEntry[];
}

/** What is started. Digests are SHA-384 of the files, 48 bytes. */
export interface LaunchInputs {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  /** The kernel command line as given to the VM. */
  readonly cmdline: string;
  /** Left out where the emulator starts the kernel without firmware. */
  readonly firmware?: Uint8Array | undefined;
}

/** Event types of the TCG PC Client Platform Firmware Profile §10.4.1. */
const EVENT = {
  separator: 0x4,
  eventTag: 0x6,
  bootApplication: 0x80000003,
  action: 0x80000007,
  firmwareBlob: 0x8000000a,
  handoffTables: 0x8000000b,
} as const;

const SEPARATOR = new Uint8Array(4);

function extended(digests: readonly string[]): string {
  let register: Uint8Array = new Uint8Array(48);
  for (const digest of digests) register = sha384(register, Buffer.from(digest, "hex"));
  return hex(register);
}

/**
 * The measurements that the simulated platform gives a VM: MRTD stands for the firmware, RTMR1 for the kernel and RTMR2
 * for command line and initial RAM disk, in the order and with the event types of a TDX start under OVMF. RTMR0 holds
 * no ACPI tables, so it does not depend on the number of processors or the memory.
 * @throws {InputError} a digest that is not 48 bytes
 */
export function simulatedLaunch(inputs: LaunchInputs): LaunchMeasurements {
  const firmware = inputs.firmware ?? sha384("no firmware");
  requireLength(firmware, 48, "firmware digest");
  requireLength(inputs.kernel, 48, "kernel digest");
  requireLength(inputs.initrd, 48, "initrd digest");
  const mrtd = hex(sha384("simulated mrtd:", firmware));
  const event = (imr: number, type: number, name: string, digest: Uint8Array): EventLogEntry => ({
    imr,
    event_type: type,
    digest: hex(digest),
    event: name,
    event_payload: "",
  });
  const action = (text: string): EventLogEntry => event(1, EVENT.action, text, sha384(text));
  // OVMF appends the initrd's name to the load options of the kernel, which it measures in UTF-16 with the end mark.
  const loadOptions = concatBytes(
    new Uint8Array(Buffer.from(`${inputs.cmdline} initrd=initrd\0`, "utf16le")),
  );
  const events = [
    event(0, EVENT.handoffTables, "td-hob", sha384("simulated td-hob")),
    event(0, EVENT.firmwareBlob, "firmware-volume", sha384("simulated cfv:", firmware)),
    event(0, EVENT.separator, "separator", sha384(SEPARATOR)),
    event(1, EVENT.bootApplication, "kernel", inputs.kernel),
    action("Calling EFI Application from Boot Option"),
    event(1, EVENT.separator, "separator", sha384(SEPARATOR)),
    action("Exit Boot Services Invocation"),
    action("Exit Boot Services Returned with Success"),
    event(2, EVENT.eventTag, "kernel-cmdline", sha384(loadOptions)),
    event(2, EVENT.eventTag, "initrd", inputs.initrd),
  ];
  const replayed = (imr: number): string =>
    extended(events.filter((e) => e.imr === imr).map((e) => e.digest));
  return { mrtd, rtmr0: replayed(0), rtmr1: replayed(1), rtmr2: replayed(2), events };
}

/** A launch without any image, for tests and for the service on a developer's machine. */
export function bareLaunch(label = "no image"): LaunchMeasurements {
  return simulatedLaunch({
    kernel: sha384("kernel:", label),
    initrd: sha384("initrd:", label),
    cmdline: label,
  });
}
