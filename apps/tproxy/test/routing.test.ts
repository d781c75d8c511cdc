import { parseAppId, parseInstanceId } from "@dstack/core";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import { AddressPool } from "../src/registry/address-pool.js";
import type { Instance } from "../src/registry/instance.js";
import { STALE_AFTER_S, preferredInstances, routeTable } from "../src/routing/route-table.js";
import { isGone } from "../src/service.js";

const NOW = 1_763_800_000;
const APP = "a".repeat(40);

function instance(n: number, changes: { app?: string; id?: string; registeredAt?: number } = {}): Instance {
  return {
    appId: parseAppId(changes.app ?? APP),
    instanceId: parseInstanceId(changes.id ?? String(n).repeat(40)),
    publicKey: generateKeyPair().publicKey,
    ip: `10.77.0.${n + 1}`,
    registeredAt: changes.registeredAt ?? NOW - 1000,
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

describe("recycling", () => {
  const times = { now: NOW, startedAt: NOW - 100_000, afterSeconds: 36_000 };

  it("P5: an instance unseen for long is gone; one with a handshake, a registration or a restart since is not", () => {
    const old = instance(1, { registeredAt: NOW - 50_000 });
    expect(isGone(old, new Map(), times)).toBe(true);
    expect(isGone(old, handshakes([old, NOW - 36_001]), times)).toBe(true);
    expect(isGone(old, handshakes([old, NOW - 35_000]), times)).toBe(false);
    expect(isGone(instance(1, { registeredAt: NOW - 35_000 }), new Map(), times)).toBe(false);
    expect(isGone(old, new Map(), { ...times, startedAt: NOW - 10 })).toBe(false);
  });
});

describe("addresses", () => {
  it("gives out neither the edges nor what is reserved", () => {
    const pool = new AddressPool("10.77.0.0/29", ["10.77.0.1"]);
    const given = Array.from({ length: 6 }, () => pool.allocate());
    expect(given).toEqual(["10.77.0.2", "10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6", undefined]);
  });

  it("P5: gives an address that was given back only when all others had their turn", () => {
    const pool = new AddressPool("10.77.0.0/29", ["10.77.0.1"]);
    expect(pool.allocate()).toBe("10.77.0.2");
    pool.release("10.77.0.2");
    expect([pool.allocate(), pool.allocate(), pool.allocate(), pool.allocate()]).toEqual([
      "10.77.0.3",
      "10.77.0.4",
      "10.77.0.5",
      "10.77.0.6",
    ]);
    expect(pool.allocate()).toBe("10.77.0.2");
  });

  it("claims what is held, once, and only its own", () => {
    const pool = new AddressPool("10.77.0.0/24", ["10.77.0.1"]);
    pool.claim("10.77.0.9");
    expect(() => pool.claim("10.77.0.9")).toThrow(/held twice/);
    for (const foreign of ["10.77.1.9", "10.77.0.0", "10.77.0.255", "10.77.0.1"]) {
      expect(() => pool.claim(foreign), foreign).toThrow(/not in the client range/);
    }
  });
});
