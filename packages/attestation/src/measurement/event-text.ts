import type { EventLogEntry } from "../event-log.js";
import { EVENT } from "./uefi.js";

const MAX_TEXT = 80;

/** An event of a log for people, such as `EFI action "Exit Boot Services Invocation"`. Payloads prove nothing. */
export function eventText({ event_type, event, event_payload }: EventLogEntry): string {
  const payload = Buffer.from(event_payload, "hex");
  switch (event_type) {
    case EVENT.separator:
      return "separator";
    case EVENT.eventTag:
      return `event of the kernel's EFI stub ${quoted(payload.subarray(8).toString("latin1"))}`;
    case EVENT.platformConfigFlags:
      return `platform configuration ${quoted(payload.toString("latin1"))}`;
    case EVENT.variableDriverConfig:
    case EVENT.variableBoot:
      return `EFI variable ${quoted(variableName(payload))}`;
    case EVENT.bootServicesApplication:
      return "EFI program";
    case EVENT.efiAction:
      return `EFI action ${quoted(payload.toString("latin1"))}`;
    case EVENT.firmwareBlob:
      return "firmware volume";
    case EVENT.handoffTables:
      return "table handed to the firmware";
    default:
      return `event of type 0x${event_type.toString(16)}${event === "" ? "" : ` ${quoted(event)}`}`;
  }
}

/** The name in `UEFI_VARIABLE_DATA`: after GUID and two lengths. */
function variableName(payload: Buffer): string {
  if (payload.length < 32) return "";
  const characters = Math.min(payload.readUInt32LE(16), MAX_TEXT);
  return payload.subarray(32, 32 + 2 * characters).toString("utf16le");
}

function quoted(text: string): string {
  const end = text.indexOf("\0");
  const printable = (end === -1 ? text : text.slice(0, end)).replaceAll(/[^\x20-\x7e]/g, "?");
  return `"${printable.slice(0, MAX_TEXT)}"`;
}
