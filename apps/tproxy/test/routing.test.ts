import { parseAppId, parseInstanceId } from "@dstack/core";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import type { Instance } from "../src/registry/instance.js";
import { isGone } from "../src/registry/recycling.js";
import { STALE_AFTER_S, preferredInstances, routeTable } from "../src/routing/route-table.js";

const NOW = 1_763_800_000;
const APP = "a".repeat(40);

function instance(n: number, changes: { app?: string; id?: string; registeredAt?: number } = {}): Instance {
  return {
    appId: parseAppId(changes.app ?? APP),
    instanceId: parseInstanceId(changes.id ?? String(n).repeat(40)),
    publicKey: generateKeyPair().publicKey,
    ip: `10.77.0.${n + 1}`,
    registeredAt: changes.registeredAt ?? NOW - 1000,
    draining: false,
  };
}

function handshakes(...pairs: [Instance, number][]): Map<string, number> {
  return new Map(pairs.map(([{ publicKey }, at]) => [publicKey, at]));
}

describe("choice of instances", () => {
  const [one, two, three] = [instance(1), instance(2), instance(3)];

  it("P5: freshest handshake first", () => {
    const seen = handshakes([one, NOW - 50], [two, NOW - 10], [three, NOW - 100]);
    expect(preferredInstances([one, two, three], seen, NOW)).toEqual([two, one, three]);
  });

  it("P5: skips dead instances while one is alive, and tries them when none is", () => {
    const dead = NOW - STALE_AFTER_S - 1;
    expect(preferredInstances([one, two], handshakes([one, dead], [two, NOW]), NOW)).toEqual([two]);
    expect(preferredInstances([one, two], handshakes([one, dead - 5], [two, dead]), NOW)).toEqual([two, one]);
  });

  it("P5: puts an instance that never shook hands after the live ones", () => {
    expect(preferredInstances([one, two], handshakes([two, NOW]), NOW)).toEqual([two, one]);
    const newer = instance(4, { registeredAt: NOW });
    expect(preferredInstances([one, newer], new Map(), NOW)).toEqual([newer, one]);
  });

  it("P3: an instance id that equals an app id does not take that app's traffic", () => {
    const victim = instance(1);
    const thief = instance(2, { app: "c".repeat(40), id: APP });
    for (const instances of [
      [victim, thief],
      [thief, victim],
    ]) {
      const { backends } = routeTable(instances, handshakes([thief, NOW], [victim, NOW - 100]), NOW, {
        baseDomains: ["app.example.org"],
        allowedPorts: [],
      });
      expect(backends.get(APP)?.map((backend) => backend.host)).toEqual([victim.ip]);
    }
  });
});

const fixed = { baseDomains: ["app.example.org"], allowedPorts: [] };

it.each(["proxyProtocolPorts", "publicPorts"] as const)("tells the data plane an instance's %s", (field) => {
  const asking = { ...instance(1), [field]: [8443] };
  const { backends } = routeTable([asking, instance(2)], new Map(), NOW, fixed);
  expect(backends.get(asking.instanceId)?.[0]?.[field]).toEqual([8443]);
  expect(backends.get(instance(2).instanceId)?.[0]).not.toHaveProperty(field);
});

describe("draining", () => {
  it("gives a drained instance no new connections, by neither of its names", () => {
    const [one, two] = [instance(1), { ...instance(2), draining: true }];
    const { backends } = routeTable([one, two], handshakes([one, NOW - 9], [two, NOW]), NOW, fixed);
    expect(backends.get(APP)?.map((backend) => backend.host)).toEqual([one.ip]);
    expect(backends.has(two.instanceId)).toBe(false);
  });

  it("P3: the traffic of an app that is drained goes to nobody with its name", () => {
    const victim = { ...instance(1), draining: true };
    const thief = instance(2, { app: "c".repeat(40), id: APP });
    expect(routeTable([victim, thief], new Map(), NOW, fixed).backends.has(APP)).toBe(false);
  });
});

describe("recycling", () => {
  const times = { now: NOW, startedAt: NOW - 100_000, afterSeconds: 36_000 };

  it("P5: an instance unseen for long is gone; one with a handshake or registration since, here or elsewhere, is not", () => {
    const old = instance(1, { registeredAt: NOW - 50_000 });
    expect(isGone(old, 0, new Map(), times)).toBe(true);
    expect(isGone(old, NOW - 36_001, handshakes([old, NOW - 36_001]), times)).toBe(true);
    expect(isGone(old, 0, handshakes([old, NOW - 35_000]), times)).toBe(false);
    expect(isGone(old, NOW - 35_000, new Map(), times)).toBe(false);
    expect(isGone(instance(1, { registeredAt: NOW - 35_000 }), 0, new Map(), times)).toBe(false);
  });

  it("forgets nobody right after a start, when guests that were cut off were not heard yet", () => {
    const old = instance(1, { registeredAt: NOW - 50_000 });
    expect(isGone(old, 0, new Map(), { ...times, startedAt: NOW - 599 })).toBe(false);
    expect(isGone(old, 0, new Map(), { ...times, startedAt: NOW - 600 })).toBe(true);
  });
});
