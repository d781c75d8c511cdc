import { readAppIdentity, runtimeEvent } from "@dstack/attestation";
import { appIdOfCompose, hex, parseAppId, sha256, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { parseAppCompose } from "../../src/boot/app-compose.js";
import {
  SYSTEM_PREPARING,
  SYSTEM_READY,
  decideIdentity,
  identityEvents,
  instanceInfoText,
  keyProviderEvent,
  newInstanceId,
  parseInstanceInfo,
  rootfsHashOf,
} from "../../src/boot/identity.js";

const document = JSON.stringify({
  name: "hello",
  runner: "docker-compose",
  docker_compose_file: "services: {}",
  features: ["kms", "tproxy-net"],
});
const compose = parseAppCompose(utf8(document));
const salt = new Uint8Array(20).fill(9);
const parts = {
  compose,
  info: parseInstanceInfo(undefined),
  rootfsHash: new Uint8Array(32).fill(1),
  caCertDer: utf8("der of the ca"),
  salt,
};
const otherApp = parseAppId("b".repeat(40));
const otherSalt = new Uint8Array(20).fill(8);
const instance = newInstanceId(otherSalt, otherApp);
/** What an instance of that app has written. */
const otherInfo = { instance_id: instance, instance_salt: hex(otherSalt), app_id: otherApp };

describe("decideIdentity", () => {
  it("makes a new instance of the app that the compose document is", () => {
    const identity = decideIdentity(parts);
    expect(identity.appId).toBe(appIdOfCompose(utf8(document)));
    expect(identity.upgradedAppId).toBe(identity.appId);
    expect(identity.instanceId).toBe(newInstanceId(salt, identity.appId));
    expect(hex(identity.caCertHash)).toBe(hex(sha256("der of the ca")));
  });

  it("keeps app and instance over an upgrade, and measures what runs now beside it", () => {
    const info = parseInstanceInfo(utf8(JSON.stringify({ bootstrapped: true, ...otherInfo })));
    const identity = decideIdentity({ ...parts, info });
    expect(identity).toMatchObject({
      appId: otherApp,
      instanceId: instance,
      upgradedAppId: compose.ownAppId,
    });
    expect(hex(identity.composeHash)).toBe(hex(sha256(document)));
  });

  it("takes an app id without an instance: a further instance of an upgraded app", () => {
    const info = parseInstanceInfo(utf8(JSON.stringify({ app_id: otherApp })));
    const identity = decideIdentity({ ...parts, info });
    expect(identity.appId).toBe(otherApp);
    expect(identity.instanceId).toBe(newInstanceId(salt, identity.appId));
  });

  it("makes instance ids as they are written down: SHA-256 of 20 random bytes and the app id, 20 bytes of it", () => {
    const expected = sha256(salt, Buffer.from(compose.ownAppId, "hex")).subarray(0, 20);
    expect(newInstanceId(salt, compose.ownAppId)).toBe(hex(expected));
    expect(() => newInstanceId(new Uint8Array(19), compose.ownAppId)).toThrow("20 bytes");
  });
});

describe("the boot's events", () => {
  const root = Uint8Array.of(0x30, 0x59);
  const events = [
    SYSTEM_PREPARING,
    ...identityEvents(decideIdentity(parts)),
    keyProviderEvent(root),
    SYSTEM_READY,
  ];

  it("come in the documented order", () => {
    expect(events.map((event) => event.name)).toEqual([
      "system-preparing",
      "rootfs-hash",
      "app-id",
      "compose-hash",
      "upgraded-app-id",
      "ca-cert-hash",
      "instance-id",
      "boot-mr-done",
      "key-provider",
      "system-ready",
    ]);
  });

  it("are what a verifier reads the identity from", () => {
    const identity = readAppIdentity(events.map(({ name, payload }) => runtimeEvent(name, payload)));
    expect(identity).toMatchObject({
      rootfsHash: "01".repeat(32),
      appId: compose.ownAppId,
      composeHash: hex(sha256(document)),
      upgradedAppId: compose.ownAppId,
      systemReady: true,
      keyProvider: '{"name":"kms","id":"3059"}',
    });
  });
});

describe(".instance_info", () => {
  it("reads what was written", () => {
    const identity = decideIdentity(parts);
    expect(parseInstanceInfo(utf8(instanceInfoText(identity, true)))).toEqual({
      bootstrapped: true,
      instanceId: identity.instanceId,
      instanceSalt: salt,
      appId: identity.appId,
    });
  });

  it.each([
    ["not JSON", "{"],
    ["an id that is none", JSON.stringify({ instance_id: "../../etc" })],
    ["upper case", JSON.stringify({ app_id: "B".repeat(40) })],
    ["data without an id", JSON.stringify({ bootstrapped: true })],
    ["another type", JSON.stringify({ bootstrapped: "yes", ...otherInfo })],
  ])("G1: refuses %s", (_what, text) => {
    expect(() => parseInstanceInfo(utf8(text))).toThrow();
  });
});

describe("E12: a host that gives a VM somebody else's instance id", () => {
  const parse = (info: Record<string, unknown>) => parseInstanceInfo(utf8(JSON.stringify(info)));
  const victimApp = "d".repeat(40);

  it("is refused with an instance of another app", () => {
    expect(() => parse({ ...otherInfo, app_id: compose.ownAppId })).toThrow("was not made");
  });

  it("is refused with the id of another app, whose name at tproxy it would take", () => {
    expect(() => parse({ ...otherInfo, instance_id: victimApp })).toThrow("was not made");
  });

  it("is refused without what the id was made of", () => {
    expect(() => parse({ instance_id: instance, app_id: otherApp })).toThrow("instance_salt");
    expect(() => parse({ instance_id: instance, instance_salt: hex(otherSalt) })).toThrow("was not made");
  });
});

describe("rootfsHashOf", () => {
  const hash = "ab".repeat(32);

  it("reads the measured command line", () => {
    expect(hex(rootfsHashOf(`console=ttyS0 dstack.rootfs_hash=${hash} dstack.rootfs_size=4096\n`))).toBe(
      hash,
    );
  });

  it.each([
    ["none", "console=ttyS0"],
    ["two", `dstack.rootfs_hash=${hash} dstack.rootfs_hash=${hash}`],
    ["a short one", "dstack.rootfs_hash=abcd"],
  ])("refuses %s", (_what, line) => {
    expect(() => rootfsHashOf(line)).toThrow("dstack.rootfs_hash");
  });
});
