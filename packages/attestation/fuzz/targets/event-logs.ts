import { concatBytes } from "@dstack/core";
import {
  EvidenceError,
  MAX_EVENTS,
  parseCcel,
  parseEventLog,
  readAppIdentity,
  replayEventLog,
} from "../../src/index.js";
import { BOOT_EVENTS, KEY_PROVIDER, SYSTEM_READY, logOf } from "../../test/support/platform.js";
import { fromHex, require, text, utf8 } from "../target.js";
import type { Target } from "../target.js";

const running = [...BOOT_EVENTS, KEY_PROVIDER, SYSTEM_READY];

export const eventLog: Target = {
  name: "event-log",
  seeds: () => [utf8(JSON.stringify(logOf(running))), utf8(JSON.stringify(running))],
  words: [
    ...[
      '"imr":3',
      '"imr":',
      '"event":"app-id"',
      '"event_payload":""',
      '"event_type":134217729',
      '"__proto__":{}',
    ],
    ...[
      "{",
      "}",
      "[",
      "]",
      ",",
      '"',
      "\\u003a",
      "1e2",
      "-0",
      JSON.stringify(running[2]),
      JSON.stringify(running[7]),
    ],
  ].map(utf8),
  refusals: [EvidenceError],
  read: (input) => {
    const entries = parseEventLog(text(input));
    require(entries.length <= MAX_EVENTS, "more events than there may be");
    require(JSON.stringify(parseEventLog(JSON.stringify(entries))) ===
      JSON.stringify(entries), "it reads differently when written");
    require(replayEventLog(entries).every(
      (register) => register.length === 48,
    ), "a register has another length");
    const identity = readAppIdentity(entries);
    require(/^[0-9a-f]{40}$/.test(identity.appId) &&
      /^[0-9a-f]{40}$/.test(identity.instanceId), "an id is not what it must be");
    // Nobody can make another digest for the same payload, so an app id that is read is one of the two the seeds have.
    const ids = entries.filter((entry) => entry.imr === 3 && entry.event === "app-id");
    require(ids[0]?.event_payload === identity.appId, "the app id is not that of the first such event");
  },
};

function u32(...values: number[]): Uint8Array {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32LE(value, 4 * i));
  return new Uint8Array(bytes);
}

/** A firmware log: the record that says which digests there are, three events, fill. */
function firmwareLog(fill: Uint8Array): Uint8Array {
  const spec = concatBytes(
    utf8("Spec ID Event03\0"),
    new Uint8Array(8),
    u32(1),
    fromHex("0c003000"),
    fromHex("00"),
  );
  const head = concatBytes(u32(1, 3), new Uint8Array(20), u32(spec.length), spec);
  const record = (index: number, type: number, data: Uint8Array): Uint8Array =>
    concatBytes(u32(index, type, 1), fromHex("0c00"), new Uint8Array(48).fill(index), u32(data.length), data);
  return concatBytes(
    head,
    record(1, 4, u32(0)),
    record(2, 0x80000007, utf8("action")),
    record(4, 3, u32()),
    fill,
  );
}

export const ccel: Target = {
  name: "ccel",
  seeds: () => [
    firmwareLog(new Uint8Array(64).fill(0xff)),
    firmwareLog(new Uint8Array(64)),
    firmwareLog(new Uint8Array()),
  ],
  words: [fromHex("0c003000"), fromHex("0b002000"), fromHex("ffffffff"), u32(3), u32(1024)],
  refusals: [EvidenceError],
  read: (input) => {
    const entries = parseCcel(input);
    require(entries.length <= MAX_EVENTS, "more events than there may be");
    require(replayEventLog(entries).every(
      (register) => register.length === 48,
    ), "a register has another length");
    const payload = entries.reduce((sum, entry) => sum + entry.event_payload.length / 2, 0);
    require(payload + 48 * entries.length <= input.length, "more came out than went in");
  },
};
