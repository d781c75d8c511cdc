import { join } from "node:path";
import { silentLogger } from "../../../packages/daemon/src/index.js";
import { parseAppId, parseInstanceId } from "../../../packages/core/src/index.js";
import { parsePublicKey } from "../../../packages/wireguard-tools-wrapper/src/index.js";
import { AddressBlock } from "../../../apps/tproxy/src/registry/address-block.js";
import { InstanceRegistry } from "../../../apps/tproxy/src/registry/registry.js";
import { FileStore } from "../../../packages/store/src/index.js";
import { makeIds } from "../site.js";
import { withDirectory } from "./directory.js";
import type { Finding, Scenario } from "./scenario.js";

const PEERS = 5_000;
/** Of this process, in which a start takes 0.3 s: reading that grows with the square of the peers takes minutes. */
const MAX_START_CPU_MS = 2_000;
/** Beside work of others it takes longer, but a start that waits for something would be a fault. */
const MAX_START_MS = 60_000;

/** A registry with thousands of peers: each has an address of its own, and a start finds all of them. */
export const manyPeers: Scenario = {
  about: "a registry of 5,000 peers: each has an address of its own, and a start finds all of them",
  run: () => withDirectory(registerMany),
};

async function registerMany(directory: string): Promise<Finding> {
  const path = join(directory, "registry.journal");
  const began = performance.now();
  {
    await using store = await FileStore.open(path, "soak");
    const registry = registryOf(store, "10.0.0.0/16", "10.0.0.1");
    for (const id of makeIds(PEERS)) await registerSilent(registry, id);
  }
  const registeredMs = performance.now() - began;
  const [again, cpu] = [performance.now(), process.cpuUsage()];
  await using store = await FileStore.open(path, "soak");
  const instances = registryOf(store, "10.0.0.0/16", "10.0.0.1").list();
  const { user, system } = process.cpuUsage(cpu);
  const [startMs, cpuMs] = [performance.now() - again, (user + system) / 1000];
  const addresses = new Set(instances.map(({ ip }) => ip)).size;
  const isFast = cpuMs <= MAX_START_CPU_MS && startMs <= MAX_START_MS;
  return {
    passed: instances.length === PEERS && addresses === PEERS && isFast,
    facts:
      `${PEERS} peers registered in ${(registeredMs / 1000).toFixed(1)} s, each on disk; a start read ${instances.length} ` +
      `with ${addresses} addresses in ${cpuMs.toFixed(0)} ms of CPU and ${startMs.toFixed(0)} ms`,
  };
}

/** Registers an instance that will not be heard of again. */
export async function registerSilent(registry: InstanceRegistry, id: string): Promise<void> {
  await registry.register({
    appId: parseAppId(id),
    instanceId: parseInstanceId(id),
    publicKey: parsePublicKey(Buffer.from(id.repeat(2), "hex").subarray(0, 32).toString("base64")),
    bootKey: id.padEnd(64, "0"),
    again: false,
  });
}

/** @param own the address in the range that is no instance's */
export function registryOf(store: FileStore, range: string, own: string): InstanceRegistry {
  return new InstanceRegistry({
    store,
    block: new AddressBlock(range, [own]),
    isInABlock: () => true,
    isNodeKey: () => false,
    now: () => Math.floor(Date.now() / 1000),
    log: silentLogger(),
  });
}
