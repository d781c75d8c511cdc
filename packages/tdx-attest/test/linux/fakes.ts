import type { EventLogEntry } from "@dstack/attestation";
import { concatBytes, fromHex, utf8 } from "@dstack/core";

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8);
}
function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** The ACPI event log that holds these events (TCG PC Client Platform Firmware Profile §10.4). */
export function ccelOf(events: readonly EventLogEntry[]): Uint8Array {
  const specId = concatBytes(
    utf8("Spec ID Event03\0"),
    u32(0), // platform class
    Uint8Array.of(0, 2, 0, 2), // version 2.00, errata, size of UINTN
    u32(1),
    u16(0x0c), // SHA-384
    u16(48),
    Uint8Array.of(0), // no vendor info
  );
  const first = concatBytes(u32(1), u32(3), new Uint8Array(20), u32(specId.length), specId);
  const records = events.map((event) => {
    const payload = utf8(event.event);
    const digest = concatBytes(u32(1), u16(0x0c), fromHex(event.digest));
    return concatBytes(u32(event.imr + 1), u32(event.event_type), digest, u32(payload.length), payload);
  });
  return concatBytes(first, ...records, new Uint8Array(64).fill(0xff));
}

/** As the addon rejects. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made up by a test`), { code });
}
