import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAppId, parseInstanceId, sleep } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardStatus } from "@dstack/wireguard-tools-wrapper";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Instance } from "../src/registry/instance.js";
import type { InstanceRegistry } from "../src/registry/registry.js";
import { EndpointMemory } from "../src/wireguard/endpoint-memory.js";
import { POLL_MS, Tunnel } from "../src/wireguard/tunnel.js";
import { MemoryWireGuard } from "./memory-wireguard.js";

/** Counts how often it was looked at. */
class CountingWireGuard extends MemoryWireGuard {
  looks = 0;
  override async dump(): Promise<WireGuardStatus> {
    this.looks += 1;
    return super.dump();
  }
}

const instance = (n: number): Instance => ({
  appId: parseAppId("a".repeat(40)),
  instanceId: parseInstanceId(n.toString(16).padStart(40, "0")),
  publicKey: generateKeyPair().publicKey,
  ip: `10.77.0.${n}`,
  registeredAt: 0,
  draining: false,
});

describe("tunnel", () => {
  let dir: string;
  let instances: Instance[];
  let device: CountingWireGuard;
  let tunnel: Tunnel;
  const stop: AbortController[] = [];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "tproxy-tunnel-"));
    instances = [];
    device = new CountingWireGuard();
    const registry = { list: () => instances } as InstanceRegistry;
    const server = { privateKey: generateKeyPair().privateKey, listenPort: 51820 };
    const endpoints = await EndpointMemory.open(join(dir, "endpoints.json"));
    tunnel = new Tunnel(device, server, registry, endpoints, silentLogger());
  });
  afterEach(async () => {
    for (const each of stop.splice(0)) each.abort();
    await rm(dir, { recursive: true, force: true });
  });

  async function running(): Promise<void> {
    const end = new AbortController();
    stop.push(end);
    void tunnel.run(async () => {}, end.signal);
    await expect.poll(() => device.looks, { interval: 5 }).toBe(1);
  }

  it("looks for a new peer often, until it is heard, and writes down where at once", async () => {
    await running();
    const peer = instance(2);
    instances = [peer];
    const began = performance.now();
    await tunnel.sync();
    // More than there would be at the usual pace.
    const early = (): number => device.looks - 1 - (performance.now() - began) / POLL_MS;
    await expect.poll(early, { interval: 5 }).toBeGreaterThan(2);

    const next = instance(3);
    instances = [peer, next];
    device.setEndpoint(next.publicKey, "192.0.2.7:40000");
    device.setEndpoint(peer.publicKey, "192.0.2.8:40000");
    await tunnel.sync();
    const written = (): Promise<string> => readFile(join(dir, "endpoints.json"), "utf8").catch(() => "");
    await expect.poll(written, { interval: 5 }).toContain("192.0.2.7:40000");
    const looks = device.looks;
    await tunnel.sync(); // nobody new
    const from = performance.now();
    await sleep(POLL_MS / 3);
    expect(device.looks - looks).toBeLessThanOrEqual(1 + (performance.now() - from) / POLL_MS);
  });
});
