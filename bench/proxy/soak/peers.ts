import { join } from "node:path";
import { silentLogger } from "../../../packages/daemon/src/index.js";
import { parseAppId, parseInstanceId } from "../../../packages/core/src/index.js";
import { parsePublicKey } from "../../../packages/wireguard-tools-wrapper/src/index.js";
import { AddressBlock } from "../../../apps/tproxy/src/registry/address-block.js";
import { InstanceRegistry } from "../../../apps/tproxy/src/registry/registry.js";
import { FileStore } from "../../../packages/store/src/index.js";
import { makeIds } from "../site.js";
import type { Scenario } from "./scenario.js";

const PEERS = 5_000;
const MAX_START_MS = 5_000;

/** A registry with thousands of peers: each has an address of its own, and a start finds all of them. */
export const manyPeers: Scenario = async ({ site }) => {
  const path = join(site.directory, "registry.journal");
  const began = performance.now();
  {
    await using store = await FileStore.open(path, "soak");
    const registry = registryOf(store);
    for (const id of makeIds(PEERS)) {
      await registry.register({
        appId: parseAppId(id),
        instanceId: parseInstanceId(id),
        publicKey: parsePublicKey(Buffer.from(id.repeat(2), "hex").subarray(0, 32).toString("base64")),
        bootKey: id.padEnd(64, "0"),
        again: false,
      });
    }
  }
  const registeredMs = performance.now() - began;
  const again = performance.now();
  await using store = await FileStore.open(path, "soak");
  const instances = registryOf(store).list();
  const startMs = performance.now() - again;
  const addresses = new Set(instances.map(({ ip }) => ip)).size;
  return {
    passed: instances.length === PEERS && addresses === PEERS && startMs <= MAX_START_MS,
    facts: `${PEERS} peers registered in ${(registeredMs / 1000).toFixed(1)} s, each on disk; a start read ${instances.length} with ${addresses} addresses in ${startMs.toFixed(0)} ms`,
  };
};

function registryOf(store: FileStore): InstanceRegistry {
  return new InstanceRegistry({
    store,
    block: new AddressBlock("10.0.0.0/16", ["10.0.0.1"]),
    isInABlock: () => true,
    isNodeKey: () => false,
    now: () => Math.floor(Date.now() / 1000),
    log: silentLogger(),
  });
}
