import { InputError, hex, sha384, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  MAX_EVENTS,
  MAX_EVENT_LOG_CHARS,
  RUNTIME_EVENT_TYPE,
  checkRuntimeEvents,
  parseEventLog,
  replayEventLog,
  runtimeEvent,
  runtimeEventDigest,
} from "../src/index.js";
import { codeOf } from "./support/platform.js";

const event = runtimeEvent("app-id", utf8("twenty bytes of text"));

describe("runtime event digest. FROZEN: a changed byte makes every deployed guest's log unreadable", () => {
  it("is SHA-384 over type, name and payload with colons between", () => {
    const preimage = Buffer.concat([
      Buffer.from("01000008", "hex"),
      Buffer.from(":app-id:"),
      Buffer.from([0, 255]),
    ]);
    expect(runtimeEventDigest("app-id", Uint8Array.of(0, 255))).toEqual(sha384(preimage));
    // From `printf '\x01\x00\x00\x08:system-ready:' | sha384sum`.
    expect(hex(runtimeEventDigest("system-ready", new Uint8Array()))).toBe(
      "1a76b2a80a0be71eae59f80945d876351a7a3fb8e9fd1ff1cede5734aa84ea11fd72b4edfbb6f04e5a85edd114c751bd",
    );
    expect(RUNTIME_EVENT_TYPE).toBe(134217729);
  });

  it.each(["", "app-id:00", "a\nb", "a\u0000", "\ud800", "x".repeat(129), "é".repeat(65)])(
    "E2: refuses the name %j, which could be read in two ways",
    (name) => expect(() => runtimeEventDigest(name, new Uint8Array())).toThrow(InputError),
  );
});

describe("parseEventLog", () => {
  it("reads what it was given", () => {
    const boot = { ...event, imr: 0, event_type: 0x80000001, event: "" };
    expect(parseEventLog(JSON.stringify([boot, event]))).toEqual([boot, event]);
    expect(parseEventLog("[]")).toEqual([]);
  });

  it.each([
    ["no JSON", "[{"],
    ["no array", "{}"],
    ["null", "[null]"],
    ["a register that does not exist", JSON.stringify([{ ...event, imr: 4 }])],
    ["a negative register", JSON.stringify([{ ...event, imr: -1 }])],
    ["half a register", JSON.stringify([{ ...event, imr: 0.5 }])],
    ["a register in text", JSON.stringify([{ ...event, imr: "3" }])],
    ["a type of 33 bits", JSON.stringify([{ ...event, event_type: 2 ** 32 }])],
    ["a short digest", JSON.stringify([{ ...event, digest: event.digest.slice(2) }])],
    ["a byte before the digest", JSON.stringify([{ ...event, digest: `00${event.digest}` }])],
    ["a byte behind the digest", JSON.stringify([{ ...event, digest: `${event.digest}00` }])],
    ["an upper-case digest", JSON.stringify([{ ...event, digest: event.digest.toUpperCase() }])],
    ["half a payload byte", JSON.stringify([{ ...event, event_payload: "abc" }])],
    ["a payload that is not hex", JSON.stringify([{ ...event, event_payload: "zz" }])],
    ["a field too many", JSON.stringify([{ ...event, version: 2 }])],
    ["a field too few", JSON.stringify([{ ...event, event_payload: undefined }])],
  ])("E11: refuses %s", (_name, text) =>
    expect(codeOf(() => parseEventLog(text))).toBe("event_log_malformed"),
  );

  it("E11: refuses too many events, too much text and any depth", () => {
    const empty = JSON.stringify(Array.from({ length: MAX_EVENTS + 1 }, () => 0));
    expect(codeOf(() => parseEventLog(empty))).toBe("event_log_malformed");
    expect(codeOf(() => parseEventLog(`[${" ".repeat(MAX_EVENT_LOG_CHARS)}]`))).toBe("event_log_malformed");
    const deep = "[".repeat(MAX_EVENT_LOG_CHARS / 2) + "]".repeat(MAX_EVENT_LOG_CHARS / 2);
    expect(codeOf(() => parseEventLog(deep))).toBe("event_log_malformed");
  });
});

describe("parseEventLog at its limits", () => {
  it("takes as much as there may be", () => {
    expect(parseEventLog("[]".padEnd(MAX_EVENT_LOG_CHARS))).toEqual([]);
    const small = JSON.stringify(Array.from({ length: MAX_EVENTS }, () => ({ ...event, event_payload: "" })));
    expect(parseEventLog(small)).toHaveLength(MAX_EVENTS);
    expect(runtimeEventDigest("x".repeat(128), new Uint8Array())).toHaveLength(48);
  });

  it("E11: says what is wrong before it looks at the events", () => {
    expect(() => parseEventLog("[]".padEnd(MAX_EVENT_LOG_CHARS + 1))).toThrow(/longer than/);
    expect(() => parseEventLog("[{")).toThrow(/is not JSON/);
    expect(() => parseEventLog(`[${"0,".repeat(MAX_EVENTS)}0]`)).toThrow(/more than 1024 events/);
  });
});

describe("replayEventLog", () => {
  it("extends each register by its own events, in order", () => {
    const digest = (text: string): string => hex(sha384(text));
    const entry = (imr: number, text: string) => ({ ...event, imr, digest: digest(text) });
    const [r0, r1, r2, r3] = replayEventLog([entry(0, "a"), entry(3, "b"), entry(0, "c")]);
    const bytes = (text: string): Buffer => Buffer.from(digest(text), "hex");
    expect(r0).toEqual(sha384(sha384(new Uint8Array(48), bytes("a")), bytes("c")));
    expect(r3).toEqual(sha384(new Uint8Array(48), bytes("b")));
    expect([r1, r2]).toEqual([new Uint8Array(48), new Uint8Array(48)]);
  });

  it("E11: refuses a digest that is none, and says so", () => {
    expect(() => replayEventLog([{ ...event, digest: "00" }])).toThrow(/event digest/);
  });
});

describe("checkRuntimeEvents", () => {
  it("E2: recomputes each RTMR3 digest from name, payload and type", () => {
    checkRuntimeEvents([event]);
    const other = runtimeEvent("instance-id", utf8("twenty bytes of text"));
    for (const forged of [
      { ...event, digest: other.digest },
      { ...event, event: "instance-id" },
      { ...event, event_payload: "00" },
    ]) {
      expect(codeOf(() => checkRuntimeEvents([forged]))).toBe("event_digest_mismatch");
    }
    expect(codeOf(() => checkRuntimeEvents([{ ...event, event_type: 1 }]))).toBe("event_log_malformed");
  });

  it("E2: refuses an event relabelled at a colon, though its digest is right", () => {
    const whole = runtimeEvent("key-provider", utf8("app-id:evil"));
    const relabelled = { ...whole, event: "key-provider:app-id", event_payload: hex(utf8("evil")) };
    expect(codeOf(() => checkRuntimeEvents([relabelled]))).toBe("event_log_malformed");
  });

  it("leaves the firmware's events to the replay", () => {
    checkRuntimeEvents([{ ...event, imr: 1, event_type: 4, event: "", event_payload: "" }]);
  });
});
