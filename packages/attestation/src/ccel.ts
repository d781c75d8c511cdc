import { hex } from "@dstack/core";
import { ByteReader } from "./byte-reader.js";
import { EvidenceError } from "./errors.js";
import { MAX_EVENTS } from "./event-log.js";
import type { EventLogEntry } from "./event-log.js";

/** Longest CCEL area we read. Firmware sets 64 KiB aside. */
export const MAX_CCEL_BYTES = 1024 * 1024;

const EV_NO_ACTION = 3;
const TPM_ALG_SHA384 = 0x000c;
const END_OF_LOG = 0xffffffff;
/** `Spec ID Event03` and a NUL: what the first record of a crypto-agile log starts with (TCG PFP §10.4.5.1). */
const SPEC_ID = "53706563204944204576656e74303300";
/** Most digest algorithms one log declares. The TDX firmware declares one. */
const MAX_ALGORITHMS = 8;

/**
 * Reads the event log the firmware left in the ACPI CCEL area (TCG crypto-agile format; MR index 1 is RTMR0).
 * Records that extend nothing (`EV_NO_ACTION`) are left out; the rest comes with its SHA-384 digest.
 * @throws {EvidenceError} `event_log_malformed`
 */
export function parseCcel(bytes: Uint8Array): EventLogEntry[] {
  if (bytes.length > MAX_CCEL_BYTES) throw malformed(`it is longer than ${MAX_CCEL_BYTES} bytes`);
  const reader = new ByteReader(bytes, malformed);
  const digestSizes = readSpecIdEvent(reader);
  const entries: EventLogEntry[] = [];
  while (reader.remaining >= 4) {
    const index = reader.u32("MR index");
    if (index === END_OF_LOG || index === 0) {
      requireFill(reader, index === 0 ? 0 : 0xff);
      return entries;
    }
    if (index > 4) throw malformed(`MR index ${index} is no RTMR`);
    if (entries.length === MAX_EVENTS) throw malformed(`it has more than ${MAX_EVENTS} events`);
    const type = reader.u32("event type");
    const digest = readSha384(reader, digestSizes);
    const payload = reader.bytes(reader.u32("event size"), "event");
    if (type === EV_NO_ACTION) continue;
    entries.push({ imr: index - 1, event_type: type, digest, event: "", event_payload: hex(payload) });
  }
  reader.expectEnd("the last record");
  return entries;
}

/** The first record has the SHA-1 shape of old logs and says which digests the others carry. */
function readSpecIdEvent(reader: ByteReader): Map<number, number> {
  reader.u32("MR index");
  if (reader.u32("event type") !== EV_NO_ACTION) throw malformed("it does not start with a Spec ID event");
  reader.bytes(20, "SHA-1 digest");
  const event = new ByteReader(reader.bytes(reader.u32("event size"), "Spec ID event"), malformed);
  if (hex(event.bytes(16, "signature")) !== SPEC_ID)
    throw malformed("it does not start with a Spec ID event");
  event.bytes(8, "platform class and version");
  const count = event.u32("number of algorithms");
  if (count > MAX_ALGORITHMS) throw malformed(`it declares ${count} digest algorithms`);
  const sizes = new Map<number, number>();
  for (let i = 0; i < count; i++) sizes.set(event.u16("algorithm"), event.u16("digest size"));
  if (sizes.get(TPM_ALG_SHA384) !== 48) throw malformed("it has no SHA-384 digests");
  event.bytes(event.u8("vendor info size"), "vendor info");
  event.expectEnd("the Spec ID event");
  return sizes;
}

function readSha384(reader: ByteReader, sizes: ReadonlyMap<number, number>): string {
  const count = reader.u32("number of digests");
  if (count > sizes.size) throw malformed(`a record has ${count} digests`);
  let digest: string | undefined;
  for (let i = 0; i < count; i++) {
    const algorithm = reader.u16("algorithm");
    const size = sizes.get(algorithm);
    if (size === undefined) throw malformed(`algorithm 0x${algorithm.toString(16)} was not declared`);
    const value = reader.bytes(size, "digest");
    if (algorithm !== TPM_ALG_SHA384) continue;
    if (digest !== undefined) throw malformed("a record has two SHA-384 digests");
    digest = hex(value);
  }
  if (digest === undefined) throw malformed("a record has no SHA-384 digest");
  return digest;
}

function requireFill(reader: ByteReader, fill: number): void {
  if (reader.bytes(reader.remaining, "fill").some((byte) => byte !== fill))
    throw malformed("data follows its end");
}

function malformed(message: string): EvidenceError {
  return new EvidenceError("event_log_malformed", `reading CCEL: ${message}`);
}
