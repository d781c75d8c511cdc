import { hex, sha256, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { readAppIdentity, runtimeEvent } from "../../src/index.js";
import type { EventLogEntry } from "../../src/index.js";
import { BOOT_EVENTS, COMPOSE_HASH, KEY_PROVIDER, SYSTEM_READY, codeOf, logOf } from "../support/platform.js";

const EMPTY = new Uint8Array();
const replaced = (name: string, payload: Uint8Array): EventLogEntry[] =>
  BOOT_EVENTS.map((entry) => (entry.event === name ? runtimeEvent(name, payload) : entry));
const NAMES = BOOT_EVENTS.map((entry) => entry.event);

describe("readAppIdentity", () => {
  it("reads a boot before the keys came", () => {
    const identity = readAppIdentity(logOf());
    expect(identity).toStrictEqual({
      rootfsHash: hex(sha256("rootfs")),
      appId: hex(COMPOSE_HASH).slice(0, 40),
      composeHash: hex(COMPOSE_HASH),
      upgradedAppId: hex(COMPOSE_HASH).slice(0, 40),
      caCertHash: hex(sha256("kms ca")),
      instanceId: hex(sha256("instance")).slice(0, 40),
      bootMrDone: true,
      systemReady: false,
    });
  });

  it("reads a running guest", () => {
    const identity = readAppIdentity(logOf([...BOOT_EVENTS, KEY_PROVIDER, SYSTEM_READY]));
    expect(identity.keyProvider).toBe('{"name":"kms","id":"00"}');
    expect(identity.systemReady).toBe(true);
    expect(readAppIdentity(logOf([...BOOT_EVENTS, SYSTEM_READY])).systemReady).toBe(true);
  });

  it("E3: an app's events are never identity, whatever they are called", () => {
    const appEvents = [
      runtimeEvent("app-id", new Uint8Array(20)),
      runtimeEvent("boot-mr-done", EMPTY),
      runtimeEvent("system-ready", utf8("again")),
      runtimeEvent("anything", utf8("else")),
    ];
    const clean = readAppIdentity(logOf([...BOOT_EVENTS, SYSTEM_READY]));
    expect(readAppIdentity(logOf([...BOOT_EVENTS, SYSTEM_READY, ...appEvents]))).toEqual(clean);
  });

  it.each(NAMES)("E3: refuses a log without %s", (name) => {
    const without = BOOT_EVENTS.filter((entry) => entry.event !== name);
    expect(codeOf(() => readAppIdentity(logOf(without)))).toBe("identity_invalid");
    expect(codeOf(() => readAppIdentity(logOf([...without, SYSTEM_READY])))).toBe("identity_invalid");
  });

  it.each(NAMES)("E3: refuses a second %s anywhere before system-ready", (name) => {
    const again = BOOT_EVENTS.find((entry) => entry.event === name);
    if (again === undefined) throw new Error(name);
    for (let at = 0; at <= BOOT_EVENTS.length; at++) {
      const events = [...BOOT_EVENTS.slice(0, at), again, ...BOOT_EVENTS.slice(at), SYSTEM_READY];
      expect(
        codeOf(() => readAppIdentity(logOf(events))),
        `at ${at}`,
      ).toBe("identity_invalid");
    }
  });

  it("E3: refuses any two events in the other order", () => {
    for (let first = 0; first < BOOT_EVENTS.length - 1; first++) {
      const swapped = [...BOOT_EVENTS];
      swapped.splice(first, 2, ...BOOT_EVENTS.slice(first, first + 2).reverse());
      expect(
        codeOf(() => readAppIdentity(logOf(swapped))),
        `from ${first}`,
      ).toBe("identity_invalid");
    }
  });

  it("E3: refuses an unknown event before system-ready", () => {
    const strange = runtimeEvent("strange", EMPTY);
    for (let at = 0; at <= BOOT_EVENTS.length; at++) {
      const events = [...BOOT_EVENTS.slice(0, at), strange, ...BOOT_EVENTS.slice(at)];
      expect(
        codeOf(() => readAppIdentity(logOf(events))),
        `at ${at}`,
      ).toBe("identity_invalid");
    }
    for (const later of [
      [KEY_PROVIDER, strange],
      [KEY_PROVIDER, KEY_PROVIDER],
      [runtimeEvent("system-ready", utf8("x"))],
    ]) {
      expect(codeOf(() => readAppIdentity(logOf([...BOOT_EVENTS, ...later])))).toBe("identity_invalid");
    }
    expect(codeOf(() => readAppIdentity(logOf([SYSTEM_READY, ...BOOT_EVENTS])))).toBe("identity_invalid");
  });

  it.each(NAMES)("E3: refuses a payload of %s of another length", (name) => {
    const length = (BOOT_EVENTS.find((entry) => entry.event === name)?.event_payload.length ?? 0) / 2;
    expect(codeOf(() => readAppIdentity(logOf(replaced(name, new Uint8Array(length + 1)))))).toBe(
      "identity_invalid",
    );
  });

  it("E3: refuses an upgraded-app-id that is not of this compose document", () => {
    const events = replaced("upgraded-app-id", new Uint8Array(20));
    expect(codeOf(() => readAppIdentity(logOf(events)))).toBe("identity_invalid");
  });

  it("keeps the first app id of an upgraded app", () => {
    const identity = readAppIdentity(logOf(replaced("app-id", new Uint8Array(20))));
    expect(identity.appId).toBe("00".repeat(20));
    expect(identity.upgradedAppId).toBe(hex(COMPOSE_HASH).slice(0, 40));
  });

  it("E2: recomputes the digest of every RTMR3 event, the app's too", () => {
    for (const events of [BOOT_EVENTS, [...BOOT_EVENTS, SYSTEM_READY, runtimeEvent("mine", EMPTY)]]) {
      for (let at = 0; at < events.length; at++) {
        const forged = events.map((entry, i) =>
          i === at ? { ...entry, event_payload: `${entry.event_payload}00` } : entry,
        );
        expect(
          codeOf(() => readAppIdentity(logOf(forged))),
          `at ${at}`,
        ).toBe("event_digest_mismatch");
      }
    }
  });

  it("E2: identity comes from RTMR3 only", () => {
    const moved = BOOT_EVENTS.map((entry) => ({ ...entry, imr: 2 }));
    expect(codeOf(() => readAppIdentity(logOf(moved)))).toBe("identity_invalid");
  });

  it("gives the key provider as it was written, up to its longest", () => {
    const read = (payload: Uint8Array): string | undefined =>
      readAppIdentity(logOf([...BOOT_EVENTS, runtimeEvent("key-provider", payload)])).keyProvider;
    expect(read(utf8("\ufeff{}"))).toBe("\ufeff{}");
    expect(read(new Uint8Array(4096).fill(0x20))).toBe(" ".repeat(4096));
    expect(codeOf(() => read(new Uint8Array(4097).fill(0x20)))).toBe("identity_invalid");
  });

  it("E11: refuses a key provider that is not text or too long", () => {
    for (const payload of [Uint8Array.of(0xff), new Uint8Array(5000)]) {
      const events = [...BOOT_EVENTS, runtimeEvent("key-provider", payload)];
      expect(codeOf(() => readAppIdentity(logOf(events)))).toBe("identity_invalid");
    }
  });
});
