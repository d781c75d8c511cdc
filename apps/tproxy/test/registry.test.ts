import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAppId, parseInstanceId } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { FileStore, etcdConfig, openEtcd } from "@dstack/store";
import type { Store } from "@dstack/store";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { AddressBlock } from "../src/registry/address-block.js";
import { NodeRegistry } from "../src/registry/nodes.js";
import type { NodeDescription } from "../src/registry/nodes.js";
import { addressKey, instanceKey, ownerKey, readBoot, writeInstance } from "../src/registry/records.js";
import type { Registration } from "../src/registry/registration.js";
import { InstanceRegistry, QUARANTINE_S } from "../src/registry/registry.js";
import { EtcdServer, etcdUnavailable } from "../../../packages/store/test/support/etcd-server.js";

let now = 1_000_000;
const nodeKey = generateKeyPair().publicKey;

function registryOn(store: Store, range = "10.77.0.0/29", reserved = "10.77.0.1"): InstanceRegistry {
  return new InstanceRegistry({
    store,
    block: new AddressBlock(range, [reserved]),
    isInABlock: (ip) => ip.startsWith("10.77."),
    isNodeKey: (key) => key === nodeKey,
    now: () => now,
    log: silentLogger(),
  });
}

const registration = (n: number, changes: Partial<Registration> = {}): Registration => ({
  appId: parseAppId("a".repeat(40)),
  instanceId: parseInstanceId(n.toString(16).padStart(40, "0")),
  publicKey: generateKeyPair().publicKey,
  bootKey: n.toString(16).padStart(64, "0"),
  again: false,
  ...changes,
});

const keysOf = (store: Store, prefix: string): string[] => [...store.list(prefix)].map(([key]) => key);

describe("registry of one node", () => {
  let dir: string;
  let store: Store;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "tproxy-registry-"));
    store = await FileStore.open(join(dir, "store.jsonl"), "here");
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  it("P5: recycling frees key and address, the address only when nobody's connection can lead to it", async () => {
    const registry = registryOn(store);
    const kept = await registry.register(registration(1));
    const lost = await registry.register(registration(2));
    for (const n of [3, 4, 5]) await registry.register(registration(n));
    expect(await registry.recycle(({ instanceId }) => instanceId === lost.instanceId)).toEqual([lost]);
    expect(registry.list()).toHaveLength(4);
    expect(registryOn(store).list()).toContainEqual(kept);

    const successor = registration(6, { publicKey: lost.publicKey });
    now += QUARANTINE_S - 1;
    await expect(registry.register(successor)).rejects.toMatchObject({ code: "no_address" });
    now += 1;
    expect((await registry.register(successor)).ip).toBe(lost.ip);
  });

  it("P5: an instance that is heard while it is being recycled stays", async () => {
    const registry = registryOn(store);
    const one = await registry.register(registration(1));
    const noted = registry.noteSeen(new Map([[one.publicKey, now]]), 1);
    expect(await registry.recycle((_instance, seenAt) => seenAt < now)).toEqual([]);
    await noted;
    expect(registry.list()).toEqual([one]);
  });

  it("leaks nothing over many lives of many instances", async () => {
    const registry = registryOn(store);
    for (let n = 1; n <= 60; n++) {
      const instance = await registry.register(registration(n % 7));
      await registry.register(registration(n % 7)); // a new key
      await registry.noteSeen(new Map([[registry.list().at(-1)?.publicKey ?? "", now]]), 1);
      if (n % 2 === 0) await registry.recycle(({ instanceId }) => instanceId === instance.instanceId);
      else await registry.remove(instance.instanceId);
      now += QUARANTINE_S;
    }
    expect(registry.list()).toEqual([]);
    expect(["instances/", "keys/", "seen/"].flatMap((prefix) => keysOf(store, prefix))).toEqual([]);
    expect(keysOf(store, "addresses/").length).toBeLessThanOrEqual(5);
    now += 31 * 86_400;
    await registry.recycle(() => false);
    expect(keysOf(store, "boots/")).toEqual([]);
  });

  it("says when an instance was last heard to those who decide, over restarts", async () => {
    const registry = registryOn(store);
    const { publicKey } = await registry.register(registration(1));
    await registry.noteSeen(new Map([[publicKey, 5_000]]), 100);
    await registry.noteSeen(new Map([[publicKey, 5_050]]), 100); // not worth a write
    const asked: number[] = [];
    await registryOn(store).recycle((_instance, seenAt) => {
      asked.push(seenAt);
      return false;
    });
    expect(asked).toEqual([5_000]);
  });

  it("remembers the TLS key of an instance that was recycled, and not of one that was removed", async () => {
    const registry = registryOn(store);
    const [one, two] = [registration(1), registration(2)];
    for (const each of [one, two]) await registry.register(each);
    await registry.recycle(({ instanceId }) => instanceId === one.instanceId);
    await registry.remove(two.instanceId);
    expect([registry.isBootKey(one), registry.isBootKey(two)]).toEqual([true, false]);
    expect(registry.isBootKey({ ...one, bootKey: two.bootKey })).toBe(false);
    expect(registry.isBootKey({ ...one, appId: parseAppId("b".repeat(40)) })).toBe(false);
    expect(registry.isBootKey({ ...one, instanceId: two.instanceId })).toBe(false);
  });

  it("E14: an instance that ran for months comes back for thirty days from when it was recycled", async () => {
    const registry = registryOn(store);
    const one = registration(1);
    await registry.register(one);
    now += 60 * 86_400;
    await registry.recycle(() => true);
    expect([registry.list(), registry.isBootKey(one)]).toEqual([[], true]);
    now += 30 * 86_400;
    await registry.recycle(() => false);
    expect(registry.isBootKey(one)).toBe(true);
    now += 1;
    await registry.recycle(() => false);
    expect(registry.isBootKey(one)).toBe(false);
  });

  it("E14: an operator's remove takes the TLS key of an instance that was recycled before", async () => {
    const registry = registryOn(store);
    const one = registration(1);
    expect(await registry.remove(one.instanceId)).toBe(false);
    await registry.register(one);
    await registry.recycle(() => true);
    expect(await registry.remove(one.instanceId)).toBe(true);
    expect(registry.isBootKey(one)).toBe(false);
    expect(await registry.remove(one.instanceId)).toBe(false);
  });

  it("E14: who registers again while an operator removes the instance is refused, and leaves nothing", async () => {
    const registry = registryOn(store);
    await registry.register(registration(1));
    const again = registration(1, { again: true });
    const removed = registry.remove(again.instanceId);
    await expect(registry.register(again)).rejects.toMatchObject({ code: "other_boot" });
    await removed;
    expect(registry.list()).toEqual([]);
    expect(registry.isBootKey(again)).toBe(false);
  });

  it("E14: who registers again while the next boot registers does not take its place", async () => {
    const registry = registryOn(store);
    await registry.register(registration(1));
    const next = registration(1, { bootKey: "b".repeat(64) });
    const booted = registry.register(next);
    const late = registry.register(registration(1, { again: true }));
    await expect(late).rejects.toMatchObject({ code: "other_boot", rpcCode: "permission_denied" });
    expect(await booted).toMatchObject({ publicKey: next.publicKey });
    expect(registry.list().map(({ publicKey }) => publicKey)).toEqual([next.publicKey]);
    expect(registry.isBootKey(next)).toBe(true);
  });

  it("drains and resumes; a registration changes nothing of it", async () => {
    const registry = registryOn(store);
    const one = registration(1);
    for (const wish of [true, false]) expect(await registry.setDraining(one.instanceId, wish)).toBe(false);
    await registry.register(one);
    expect(await registry.setDraining(one.instanceId, true)).toBe(true);
    expect(await registry.register(registration(1))).toMatchObject({ draining: true });
    expect(registryOn(store).get(one.instanceId)).toMatchObject({ draining: true });
    expect(await registry.setDraining(one.instanceId, false)).toBe(true);
    expect(registry.get(one.instanceId)).toMatchObject({ draining: false });
    expect(await registry.setDraining(one.instanceId, false)).toBe(true);
  });

  it("keeps an operator's drain while the instance is recycled, and has it when it registers again", async () => {
    const registry = registryOn(store);
    const [one, two] = [registration(1), registration(2)];
    for (const each of [one, two]) await registry.register(each);
    await registry.setDraining(one.instanceId, true);
    await registry.recycle(() => true);
    const gone = [{ instanceId: one.instanceId, appId: one.appId }];
    expect([registry.list(), registry.listDrainedAndGone()]).toEqual([[], gone]);
    now += 365 * 86_400;
    await registry.recycle(() => true);
    const restarted = registryOn(store);
    expect(restarted.listDrainedAndGone()).toEqual(gone);
    expect(await restarted.register(one)).toMatchObject({ draining: true });
    expect([restarted.get(one.instanceId)?.draining, restarted.listDrainedAndGone()]).toEqual([true, []]);
  });

  it("drains and resumes an instance that is recycled; removing it takes the drain too", async () => {
    const registry = registryOn(store);
    const one = registration(1);
    await registry.register(one);
    await registry.recycle(() => true);
    expect(await registry.setDraining(one.instanceId, true)).toBe(true);
    expect(await registry.setDraining(one.instanceId, false)).toBe(true);
    expect(await registry.register(one)).toMatchObject({ draining: false });
    for (const isRecycled of [false, true]) {
      await registry.setDraining(one.instanceId, true);
      if (isRecycled) await registry.recycle(() => true);
      expect(await registry.remove(one.instanceId)).toBe(true);
      expect(keysOf(store, "drains/")).toEqual([]);
      expect(await registry.register(one)).toMatchObject({ draining: false });
    }
  });

  it("leaves no drain of an instance that is removed at the same moment", async () => {
    const registry = registryOn(store);
    const one = registration(1);
    await registry.register(one);
    const removed = registry.remove(one.instanceId);
    expect(await registry.setDraining(one.instanceId, true)).toBe(false);
    await removed;
    expect(keysOf(store, "drains/")).toEqual([]);
  });

  it("registers in the same time whether there are 5,000 instances or ten", async () => {
    const registry = registryOn(store, "10.77.0.0/16");
    const registerSome = async (from: number): Promise<number> => {
      const began = process.cpuUsage();
      for (let n = from; n < from + 50; n++) await registry.register(registration(n));
      const { user, system } = process.cpuUsage(began);
      return (user + system) / 1000;
    };
    const few = await registerSome(1);
    // As a registration writes them, many in one change.
    for (let n = 1_000; n < 6_000; n += 1_000) {
      const set: Record<string, string> = {};
      for (let each = n; each < n + 1_000; each++) {
        const { appId, instanceId, publicKey } = registration(each);
        const ip = `10.77.${128 + (each >> 8)}.${each & 255}`;
        set[instanceKey(instanceId)] = writeInstance({
          ...{ appId, instanceId, publicKey, ip, registeredAt: now, draining: false },
        });
        set[ownerKey(publicKey)] = instanceId;
        set[addressKey(ip)] = JSON.stringify({ instance: instanceId });
      }
      await store.commit({ set });
    }
    expect(registry.list()).toHaveLength(5_050);
    const many = await registerSome(100);
    expect(many).toBeLessThan(10 * few + 1_000); // milliseconds of CPU
    expect(registryOn(store, "10.77.0.0/16").list()).toHaveLength(5_100);
  });
});

const reason = etcdUnavailable();
if (reason !== undefined) console.warn(`skipping the registry of several nodes: ${reason}`);

describe.skipIf(reason !== undefined)("registry of several nodes", () => {
  let server: EtcdServer;
  let dir: string;
  let stores: Store[];
  let prefix = 0;
  beforeAll(async () => {
    server = await EtcdServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());
  beforeEach(async () => {
    prefix += 1;
    dir = await mkdtemp(join(tmpdir(), "tproxy-registry-"));
    stores = await Promise.all(
      ["a", "b", "c"].map((node) =>
        openEtcd(etcdConfig(`/registry-${prefix}/`).parse({ endpoints: [server.endpoint] }), {
          node,
          snapshotPath: join(dir, `${node}.json`),
          maxBytes: 2 ** 20,
          log: silentLogger(),
        }),
      ),
    );
  });
  afterEach(async () => {
    for (const store of stores) await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const registries = (): InstanceRegistry[] =>
    stores.map((store, n) => registryOn(store, `10.77.${n}.0/24`, `10.77.${n}.1`));

  it("E12: a key that two instances register at the same time, at two nodes, gets one owner", async () => {
    const [a, b] = registries();
    if (a === undefined || b === undefined) throw new Error("no nodes");
    for (let round = 0; round < 10; round++) {
      const { publicKey } = generateKeyPair();
      const results = await Promise.allSettled([
        a.register(registration(2 * round, { publicKey })),
        b.register(registration(2 * round + 1, { publicKey })),
      ]);
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      const refused = results.find((result) => result.status === "rejected");
      expect(refused?.reason).toMatchObject({ code: "key_taken" });
    }
  });

  it("E14: the key of an earlier boot is none at a node that has not heard of the next boot yet", async () => {
    const [a, b] = registries();
    if (a === undefined || b === undefined) throw new Error("no nodes");
    const first = registration(1);
    await a.register(first);
    for (let round = 1; round <= 10; round++) {
      const before = registration(1, { bootKey: (round - 1).toString(16).padStart(64, "c"), again: true });
      const next = registration(1, { bootKey: round.toString(16).padStart(64, "c") });
      const [booted, late] = await Promise.allSettled([
        a.register(next),
        b.register(round === 1 ? { ...before, bootKey: first.bootKey } : before),
      ]);
      expect(booted.status).toBe("fulfilled");
      // It may have been the first; then the next boot has replaced it.
      if (late.status === "rejected") expect(late.reason).toMatchObject({ code: "other_boot" });
      for (const node of [a, b]) {
        await expect.poll(() => node.list().map(({ publicKey }) => publicKey)).toEqual([next.publicKey]);
        expect(node.isBootKey(next)).toBe(true);
      }
    }
  });

  it("registers an instance once, whatever nodes it asks at the same time, and keeps its address", async () => {
    const nodes = registries();
    const one = registration(1);
    const answers = await Promise.all(nodes.map((node) => node.register(one)));
    expect(new Set(answers.map(({ ip }) => ip)).size).toBe(1);
    for (const node of nodes) {
      await expect.poll(() => node.list().map(({ ip }) => ip)).toEqual([answers[0]?.ip]);
    }
    expect(keysOf(stores[0] as Store, "keys/")).toEqual([`keys/${one.publicKey}`]);
    const held = [...(stores[0] as Store).list("addresses/")].filter(([, { value }]) =>
      value.includes("instance"),
    );
    expect(held).toHaveLength(1);
  });

  it("tells every node of instances that register, are drained and go at another one", async () => {
    const [a, b] = registries();
    if (a === undefined || b === undefined) throw new Error("no nodes");
    let changes = 0;
    b.onChange(() => changes++);
    const { instanceId, ip } = await a.register(registration(1));
    expect(ip).toBe("10.77.0.2");
    await expect.poll(() => b.get(instanceId)?.ip).toBe(ip);
    await b.setDraining(instanceId, true);
    await expect.poll(() => a.get(instanceId)?.draining).toBe(true);
    await a.remove(instanceId);
    await expect.poll(() => b.get(instanceId)).toBeUndefined();
    expect(changes).toBe(3);
  });

  describe("nodes", () => {
    const description = (n: number, changes: Partial<NodeDescription> = {}): NodeDescription => ({
      publicKey: generateKeyPair().publicKey,
      ip: `10.77.${n}.1`,
      endpoint: `192.0.2.${n}:51820`,
      rpcUrl: `https://192.0.2.${n}:9070`,
      clientRange: `10.77.${n}.0/24`,
      ...changes,
    });
    const nodeAt = (n: number, own: NodeDescription): NodeRegistry => {
      const store = stores[n];
      if (store === undefined) throw new Error(`no store ${n}`);
      return new NodeRegistry(store, own);
    };

    it("know each other, and who is alive", async () => {
      const nodes = stores.map((store, n) => new NodeRegistry(store, description(n)));
      await Promise.all(nodes.map((node) => node.join(false)));
      for (const node of nodes) {
        await expect
          .poll(() => node.list().map(({ name, alive }) => [name, alive]))
          .toEqual([
            ["a", true],
            ["b", true],
            ["c", true],
          ]);
      }
      await stores.pop()?.[Symbol.asyncDispose]();
      await expect
        .poll(() => nodes[0]?.list().at(2))
        .toMatchObject({ name: "c", alive: false, ip: "10.77.2.1" });
    });

    it("refuse blocks that overlap, also of two that join at the same time, and foreign addresses and keys", async () => {
      const a = nodeAt(0, description(0, { clientRange: "10.77.0.0/20" }));
      const b = nodeAt(1, description(9, { clientRange: "10.77.8.0/21" }));
      const both = await Promise.allSettled([a.join(false), b.join(false)]);
      expect(both.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      const joined = both[0]?.status === "fulfilled" ? a : b;
      const other = joined === a ? 1 : 0;
      const { ip, publicKey } = joined.self();
      const joinAs = (own: NodeDescription): Promise<void> => nodeAt(other, own).join(false);
      await expect(joinAs(description(40, { ip }))).rejects.toThrow("in each other's way");
      await expect(joinAs(description(40, { publicKey }))).rejects.toThrow("WireGuard key");
      await joinAs(description(40));
      await joinAs(description(41)); // a node may change its mind
      await expect.poll(() => joined.list().length).toBe(2);
    });

    it("refuse to be of two address families, whose guests would not hear each other's node", async () => {
      const a = nodeAt(0, description(0));
      const b = nodeAt(1, description(1, { ip: "fd00:77::1", clientRange: "fd00:77::/112" }));
      await a.join(false);
      await expect(b.join(false)).rejects.toThrow(
        /node b has an IPv6 block .* and node a an IPv4 one, 10\.77\.0\.0\/24: .*one family, or remove node a/,
      );
      await expect.poll(() => a.list().map(({ name }) => name)).toEqual(["a"]);
      await stores[0]?.[Symbol.asyncDispose]();
      await expect.poll(() => b.remove("a").catch(() => false)).toBe(true);
      await b.join(false);
      expect(b.isJoined()).toBe(true);
    });

    it("are drained and resumed by any node, over restarts, and removed when they are gone", async () => {
      const [a, b] = [nodeAt(0, description(0)), nodeAt(1, description(1))];
      await Promise.all([a.join(false), b.join(false)]);
      await expect.poll(() => a.list().length).toBe(2);
      expect(await a.setDraining("b", true)).toBe(true);
      expect(await a.setDraining("x", true)).toBe(false);
      await b.join(false);
      expect(b.self().draining).toBe(true);
      await expect(a.remove("b")).rejects.toThrow("stop it first");
      await stores[1]?.[Symbol.asyncDispose]();
      await expect.poll(() => a.remove("b").catch(() => false)).toBe(true);
      expect(a.list().at(1)).toMatchObject({ name: "b", removed: true });
    });
  });
});

it("says what to do about a record of another version", () => {
  expect(() => readBoot('{"spki":"00"}')).toThrow(
    /not the record of a boot, or one that another version of tproxy wrote: .*Start that version, or put the store aside/s,
  );
});
