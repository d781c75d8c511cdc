import { replayEventLog, runtimeEventDigest } from "@dstack/attestation";
import type { EventLogEntry } from "@dstack/attestation";
import { fromHex, hex, sameBytes } from "@dstack/core";
import type { Measured } from "./measurements.js";

/** One RTMR: what the quote says, what replaying its events gives, and the events. */
export interface ReplayedRegister {
  readonly name: string;
  /** Lower-case hex. */
  readonly quoted: string;
  readonly replayed: string;
  readonly equal: boolean;
  readonly events: readonly EventLogEntry[];
}

/** Replays the log and compares each register with the quote's, as a verifier does (E2). */
export function replayRegisters({ body, events }: Measured): ReplayedRegister[] {
  const replayed = replayEventLog(events);
  return replayed.map((value, index) => {
    const quoted = body.rtmr[index] ?? new Uint8Array();
    return {
      name: `RTMR${index}`,
      quoted: hex(quoted),
      replayed: hex(value),
      equal: sameBytes(value, quoted),
      events: events.filter(({ imr }) => imr === index),
    };
  });
}

/** Whether the digest of an RTMR3 event is that of its own name and payload. */
export function digestFits({ event, event_payload, digest }: EventLogEntry): boolean {
  try {
    return hex(runtimeEventDigest(event, fromHex(event_payload, "event payload"))) === digest;
  } catch {
    return false; // a name that no event can have
  }
}
