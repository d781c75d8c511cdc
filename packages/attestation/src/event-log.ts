import { InputError, fromHex, hex, sameBytes, sha384, utf8 } from "@dstack/core";
import { z } from "zod";
import { EvidenceError } from "./errors.js";

/** Longest event log text we read, in characters. A dstack boot makes about 8,000. */
export const MAX_EVENT_LOG_CHARS = 256 * 1024;
/** Most events of one log, of the boot and of the app together. */
export const MAX_EVENTS = 1024;
/** Longest event name, in UTF-8 bytes. */
export const MAX_EVENT_NAME_BYTES = 128;
/** The event type of everything dstack itself puts into RTMR3. */
export const RUNTIME_EVENT_TYPE = 0x08000001;

const HEX = /^(?:[0-9a-f]{2})*$/;

const EventSchema = z.strictObject({
  imr: z.int().min(0).max(3),
  event_type: z.int().min(0).max(0xffffffff),
  digest: z.string().regex(/^[0-9a-f]{96}$/),
  event: z.string().max(MAX_EVENT_NAME_BYTES),
  event_payload: z.string().regex(HEX),
});
const EventLogSchema = z.array(EventSchema).max(MAX_EVENTS);

/** One event of a log: the register it went into (0 to 3), and digest and payload as lower-case hex. */
export type EventLogEntry = z.infer<typeof EventSchema>;

/**
 * Reads the JSON array form of an event log. Digests are not yet checked: see {@link replayEventLog} and
 * {@link checkRuntimeEvents}.
 * @throws {EvidenceError} `event_log_malformed`
 */
export function parseEventLog(json: string): EventLogEntry[] {
  if (json.length > MAX_EVENT_LOG_CHARS)
    throw malformed(`it is longer than ${MAX_EVENT_LOG_CHARS} characters`);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (err) {
    throw malformed("it is not JSON", { cause: err });
  }
  // zod looks at every element before it looks at the length.
  if (Array.isArray(value) && value.length > MAX_EVENTS)
    throw malformed(`it has more than ${MAX_EVENTS} events`);
  const parsed = EventLogSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw malformed(`[${issue?.path.join(".") ?? ""}] ${issue?.message ?? "not an event log"}`);
  }
  return parsed.data;
}

/**
 * The four RTMRs after these events: each starts as 48 zero bytes, every event makes it SHA-384(old ‖ digest).
 */
export function replayEventLog(
  entries: readonly EventLogEntry[],
): [Uint8Array, Uint8Array, Uint8Array, Uint8Array] {
  const replay = (imr: number): Uint8Array => {
    let value: Uint8Array = new Uint8Array(48);
    for (const entry of entries) {
      if (entry.imr === imr) value = sha384(value, fromHex(entry.digest, "event digest", 48));
    }
    return value;
  };
  return [replay(0), replay(1), replay(2), replay(3)];
}

/**
 * The digest that stands for a dstack event in RTMR3: SHA-384(LE32(type) ‖ ":" ‖ name ‖ ":" ‖ payload), 48 bytes.
 * @throws {InputError} the name is empty, longer than 128 bytes, or holds a colon or a control character
 */
export function runtimeEventDigest(name: string, payload: Uint8Array): Uint8Array {
  requireEventName(name);
  const type = new Uint8Array(4);
  new DataView(type.buffer).setUint32(0, RUNTIME_EVENT_TYPE, true);
  return sha384(type, ":", name, ":", payload);
}

/** A log entry for a dstack event, as it goes into RTMR3. */
export function runtimeEvent(name: string, payload: Uint8Array): EventLogEntry {
  const digest = hex(runtimeEventDigest(name, payload));
  return { imr: 3, event_type: RUNTIME_EVENT_TYPE, digest, event: name, event_payload: hex(payload) };
}

/**
 * Recomputes the digest of every RTMR3 event from its own type, name and payload. A digest alone says nothing: who
 * wrote the log could put any name and payload beside it.
 * @throws {EvidenceError} `event_digest_mismatch`, `event_log_malformed`
 */
export function checkRuntimeEvents(entries: readonly EventLogEntry[]): void {
  entries.forEach((entry, index) => {
    if (entry.imr !== 3) return;
    if (entry.event_type !== RUNTIME_EVENT_TYPE) {
      throw malformed(`event ${index} of RTMR3 has type 0x${entry.event_type.toString(16)}`);
    }
    let expected: Uint8Array;
    try {
      expected = runtimeEventDigest(entry.event, fromHex(entry.event_payload, "event payload"));
    } catch (err) {
      if (err instanceof InputError) throw malformed(`event ${index}: ${err.message}`, { cause: err });
      throw err;
    }
    if (!sameBytes(expected, fromHex(entry.digest, "event digest"))) {
      throw new EvidenceError(
        "event_digest_mismatch",
        `event ${index} ("${entry.event}") does not have its digest`,
        {
          index,
          event: entry.event,
        },
      );
    }
  });
}

/**
 * The digest puts a bare colon between name and payload, so a name with a colon could be read as a shorter name and a
 * longer payload with the same digest. Such names are refused when an event is made and when a log is read.
 */
function requireEventName(name: string): void {
  if (name.length === 0 || /[:\p{Cc}\p{Cs}]/u.test(name)) {
    throw new InputError("event name must be text without colons and control characters");
  }
  if (utf8(name).length > MAX_EVENT_NAME_BYTES) {
    throw new InputError(`event name must be at most ${MAX_EVENT_NAME_BYTES} bytes`);
  }
}

function malformed(message: string, options?: ErrorOptions): EvidenceError {
  return new EvidenceError("event_log_malformed", `reading event log: ${message}`, {}, options);
}
