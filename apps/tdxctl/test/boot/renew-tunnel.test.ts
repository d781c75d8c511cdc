import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RpcError } from "@dstack/prpc";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { runBoot } from "../../src/boot/run-boot.js";
import { renewTunnel } from "../../src/boot/tunnel/renew.js";
import { FakeDisk, FakeGuest } from "./fake-guest.js";
import { startSite } from "./site.js";
import type { Site, TunnelAnswer } from "./site.js";

let site: Site;
let first: Site["onRegister"];
beforeAll(async () => {
  site = await startSite();
  first = site.onRegister;
});
afterAll(() => site[Symbol.asyncDispose]());
afterEach(() => {
  site.registrations.length = 0;
  site.onRegister = first;
});

const signal = (): AbortSignal => AbortSignal.timeout(60_000);

async function booted(): Promise<FakeGuest> {
  const system = await FakeGuest.create(site.share(), site.provider(), new FakeDisk());
  await runBoot(system);
  return system;
}

const urlsIn = async (system: FakeGuest): Promise<string[]> =>
  (JSON.parse(await readFile(join(system.directory, "tunnel.json"), "utf8")) as { urls: string[] }).urls;

describe("renewTunnel", () => {
  it("E14: registers as the same guest, with the TLS key of its boot, and fresh evidence both times", async () => {
    await using system = await booted();
    expect(system.tunnel).not.toContain("ListenPort");
    system.listenPort = 40_000;
    await renewTunnel(system, signal());
    expect(system.tunnel).toContain("ListenPort = 40000\n"); // nodes call us where they heard us last
    const [atBoot, again] = site.registrations;
    expect([atBoot?.fresh, again?.fresh]).toEqual([true, true]);
    expect([atBoot?.peer.systemReady, again?.peer.systemReady]).toEqual([false, true]);
    expect(again?.peer.instanceId).toBe(atBoot?.peer.instanceId);
    expect(again?.peer.publicKeySpki).toEqual(atBoot?.peer.publicKeySpki);
    // P3: those that the firewall opens, so that tproxy dials no others.
    const open = [8043, 8090, 8443];
    expect([atBoot?.publicPorts, again?.publicPorts]).toEqual([open, open]);
    expect([atBoot?.proxyProtocolPorts, again?.proxyProtocolPorts]).toEqual([open, open]);
    expect(again?.key).toBe(atBoot?.key); // sessions that work go on
  });

  it("takes over another address and other nodes, firewall first, and remembers where they are", async () => {
    await using system = await booted();
    const [url = ""] = await urlsIn(system);
    const nodes = [generateKeyPair(), generateKeyPair()].map(({ publicKey }, n) => ({
      publicKey,
      ip: `10.9.${n}.1`,
      endpoint: `192.0.2.${n}:51820`,
      rpcUrl: n === 0 ? "" : "https://192.0.2.1:9070",
    }));
    site.onRegister = (seen): TunnelAnswer => ({
      wg: { ...first(seen).wg, clientIp: "10.9.1.7" },
      servers: nodes,
    });
    system.calls.length = 0;
    expect(await renewTunnel(system, signal())).toBe(url);
    expect(system.calls).toEqual([
      "firewall",
      "wireguard",
      "address 10.9.1.7/32",
      "route 10.9.0.1/32",
      "route 10.9.1.1/32",
    ]);
    expect(system.firewall).toContain("{ 10.9.0.1, 10.9.1.1 }");
    expect(system.firewall).toContain("tcp dport != { 8043, 8090, 8443 } drop");
    for (const { publicKey } of nodes) expect(system.tunnel).toContain(publicKey);
    expect(await urlsIn(system)).toEqual([url, "https://192.0.2.1:9070"]);
  });

  it("goes to the next node when one does not answer or refuses, and tells all reasons when none takes it", async () => {
    await using system = await booted();
    const path = join(system.directory, "tunnel.json");
    const saved = JSON.parse(await readFile(path, "utf8")) as { urls: string[] };
    const [url = ""] = saved.urls;
    await writeFile(path, JSON.stringify({ ...saved, urls: ["https://127.0.0.1:1", url] }));
    expect(await renewTunnel(system, signal())).toBe(url);
    expect(await urlsIn(system)).toEqual(["https://127.0.0.1:1"]); // the one of the configuration is never forgotten

    await writeFile(path, JSON.stringify({ ...saved, urls: ["https://127.0.0.1:1", url] }));
    site.onRegister = () => {
      throw new RpcError("permission_denied", "not you");
    };
    await expect(renewTunnel(system, signal())).rejects.toThrow(
      /^no node of tproxy took the registration: https:\/\/127.0.0.1:1: .*; https:.*: not you$/,
    );
  });

  it("K4: tells nothing of a damaged file's content", async () => {
    await using system = await booted();
    const path = join(system.directory, "tunnel.json");
    const text = await readFile(path, "utf8");
    for (const damaged of [
      text.slice(0, -5),
      text.replace('"version":1', '"version":2'),
      text.replace(/[AEIMQUYcgkosw048]="/, '!="'),
    ]) {
      await writeFile(path, damaged);
      const failed = await renewTunnel(system, signal()).catch((err: unknown) => String(err));
      expect(failed).toContain("is no saved tunnel");
      // The path may look like a key.
      expect(failed.replaceAll(path, "")).not.toMatch(/PRIVATE|MIG|[A-Za-z0-9+/]{30}/);
    }
  });
});
