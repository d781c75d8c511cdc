import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAppId, parseInstanceId } from "@dstack/core";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { afterEach, beforeEach, expect, it } from "vitest";
import { InstanceStore } from "../src/registry/instance-store.js";
import { InstanceRegistry } from "../src/registry/registry.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "tproxy-registry-"));
});
afterEach(() => rm(dir, { recursive: true }));

const open = async (now = () => 1000): Promise<InstanceRegistry> =>
  InstanceRegistry.open({
    store: await InstanceStore.open(dir),
    clientRange: "10.77.0.0/29",
    reserved: ["10.77.0.1"],
    ownKey: generateKeyPair().publicKey,
    now,
  });

const registration = (n: number) => ({
  appId: parseAppId("a".repeat(40)),
  instanceId: parseInstanceId(String(n).repeat(40)),
  publicKey: generateKeyPair().publicKey,
});

it("P5: recycling forgets on disk and in memory, and the address and key are free again", async () => {
  const registry = await open();
  const kept = await registry.register(registration(1));
  const lost = await registry.register(registration(2));
  expect(await registry.recycle(({ instanceId }) => instanceId === lost.instanceId)).toEqual([lost]);
  expect(registry.list()).toEqual([kept]);
  expect((await open()).list()).toEqual([kept]);
  const others = [];
  for (const n of [3, 4, 5, 6]) others.push((await registry.register(registration(n))).ip);
  expect(others).toContain(lost.ip);
  expect(others).not.toContain(kept.ip);
});

it("keeps what it acknowledged when a later write fails, and leaks no address", async () => {
  const registry = await open();
  const first = await registry.register(registration(1));
  await rm(dir, { recursive: true });
  for (let n = 0; n < 10; n++) await expect(registry.register(registration(2))).rejects.toThrow(/ENOENT/);
  await InstanceStore.open(dir);
  for (const n of [3, 4, 5, 6]) await registry.register(registration(n)); // every address but the first's
  expect(registry.list()).toContainEqual(first);
});
