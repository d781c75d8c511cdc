import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { promisify } from "node:util";
import { parseInstanceId } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { ALIVE, etcdConfig, openEtcd } from "@dstack/store";
import type { Store } from "@dstack/store";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Tproxy } from "../src/index.js";
import { bootKey, instanceKey, ownerKey } from "../src/registry/records.js";
import { tellNodes } from "../src/wireguard/tell-nodes.js";
import { EtcdServer, etcdUnavailable } from "../../../packages/store/test/support/etcd-server.js";
import { startApp } from "./app.js";
import { etcdSite } from "./etcd-site.js";
import { getText } from "./http.js";
import { MemoryWireGuard } from "./memory-wireguard.js";
import { BASE, idOf, register, start } from "./site.js";

const reason = etcdUnavailable();
if (reason !== undefined) console.warn(`skipping the tests of several nodes: ${reason}`);

/** A machine under load is slow; a fault of ours lasts. */
const SOON = { interval: 100 };

describe.skipIf(reason !== undefined)("several nodes in one process", () => {
  let etcd: EtcdServer;
  let dir: string;
  beforeAll(async () => {
    etcd = await EtcdServer.start();
    dir = await mkdtemp(join(tmpdir(), "nodes-"));
  });
  afterAll(async () => {
    await etcd[Symbol.asyncDispose]();
    await rm(dir, { recursive: true });
  });

  async function visit(server: Tproxy, instance: string): Promise<TLSSocket> {
    const servername = `${idOf(instance)}-80.${BASE}`;
    const host = "127.0.0.1";
    const visitor = connect({ port: server.proxyPort, host, servername, rejectUnauthorized: false });
    visitor.on("error", () => {});
    await once(visitor, "data");
    return visitor.resume();
  }

  it("P5: an instance that is removed at one node loses its connections at every node, and no other does", async () => {
    await using first = await etcdSite(etcd, 1);
    await using second = await etcdSite(etcd, 2);
    await using app = await startApp();
    const wireguard = new MemoryWireGuard();
    await using a = await start(first);
    await using b = await start(second, { dial: app.dial, wireguard });
    const [goesKey, staysKey] = [generateKeyPair().publicKey, generateKeyPair().publicKey];
    await register(a, { instance: "goes" }, goesKey);
    await register(a, { instance: "stays" }, staysKey);
    await expect.poll(() => b.registry.list().length, SOON).toBe(2);
    const [goes, stays] = [await visit(b, "goes"), await visit(b, "stays")];
    const ended = once(goes, "close");
    await a.registry.remove(parseInstanceId(idOf("goes")));
    await ended;
    await expect.poll(() => wireguard.configs.at(-1), SOON).not.toContain(goesKey);
    expect(wireguard.configs.at(-1)).toContain(staysKey);
    expect(stays.destroyed).toBe(false);
    stays.destroy();
  });

  /** What stands in etcd, to look at and to change. */
  async function openOperator(): Promise<Store> {
    const config = etcdConfig("/dstack/tproxy/").parse({ endpoints: [etcd.endpoint] });
    return openEtcd(config, {
      node: "operator",
      snapshotPath: join(dir, "operator.json"),
      maxBytes: 2 ** 20,
      log: silentLogger(),
    });
  }
  const recordsOfNodes = (store: Store): Record<string, object> =>
    JSON.parse(store.get("nodes")?.value ?? "{}") as Record<string, object>;

  it("a node that was removed while it was cut off is one again when it is back", async () => {
    await using site = await etcdSite(etcd, 3);
    await using node = await start(site);
    await using operator = await openOperator();
    const removed = { ...recordsOfNodes(operator)["node-3"], removed: true };
    const nodes = JSON.stringify({ ...recordsOfNodes(operator), "node-3": removed });
    await operator.commit({ set: { nodes } });
    await expect.poll(() => recordsOfNodes(operator)["node-3"], SOON).toMatchObject({ removed: false });
    await expect.poll(async () => (await getText(node.url, "/healthz")).text, SOON).toBe('{"status":"ok"}');
  });

  it("P5: an etcd that was replaced is told who is registered, and guests notice nothing", async () => {
    await using own = await EtcdServer.start();
    await using first = await etcdSite(own, 6);
    await using second = await etcdSite(own, 7);
    await using app = await startApp();
    await using a = await start(first);
    await using b = await start(second, { dial: app.dial });
    const publicKey = generateKeyPair().publicKey;
    await register(a, { instance: "stays" }, publicKey);
    await expect.poll(() => b.registry.list().length, SOON).toBe(1);
    const visitor = await visit(b, "stays");
    let missed = 0;
    for (const { registry } of [a, b]) {
      registry.onChange(() => (missed += registry.list().length === 0 ? 1 : 0));
    }
    await own.replace();
    const config = etcdConfig("/dstack/tproxy/").parse({ endpoints: [own.endpoint] });
    await using operator = await openEtcd(config, {
      node: "operator",
      snapshotPath: join(dir, "replaced.json"),
      maxBytes: 2 ** 20,
      log: silentLogger(),
    });
    const id = parseInstanceId(idOf("stays"));
    const keys = [instanceKey(id), ownerKey(publicKey), bootKey(id)];
    await expect
      .poll(() => keys.map((key) => operator.get(key) !== undefined), { timeout: 120_000, interval: 100 })
      .toEqual([true, true, true]);
    await expect
      .poll(() => Object.keys(recordsOfNodes(operator)), { timeout: 120_000, interval: 100 })
      .toEqual(["node-6", "node-7"]);
    expect(missed).toBe(0);
    expect(visitor.destroyed).toBe(false);
    visitor.destroy();
  }, 300_000);

  it("nodes that have joined an etcd that is emptied answer on, join again, and take registrations", async () => {
    await using first = await etcdSite(etcd, 4);
    await using second = await etcdSite(etcd, 5);
    await using a = await start(first);
    await using b = await start(second);
    await register(a, { instance: "removed" }, generateKeyPair().publicKey);
    await using operator = await openOperator();
    for (const [key, { revision }] of [...operator.list("")])
      if (!key.startsWith(ALIVE))
        await operator.commit({ expect: { [key]: revision }, set: { [key]: undefined } });
    for (const node of [a, b]) expect(await getText(node.url, "/metrics")).toMatchObject({ status: 200 });
    const registered = await register(a, { instance: "new" }, generateKeyPair().publicKey, 2);
    expect(registered.servers[0]?.endpoint).toBe("192.0.2.4:51820");
    await expect
      .poll(() => Object.keys(recordsOfNodes(operator)), SOON)
      .toEqual(expect.arrayContaining(["node-4", "node-5"]));
    // What an operator deletes stays deleted.
    await expect
      .poll(() => b.registry.list().map(({ instanceId }) => instanceId), SOON)
      .toEqual([idOf("new")]);
  });

  it("a node that starts with another endpoint while etcd is away tells it when etcd is back, and what is wrong until then", async () => {
    await using site = await etcdSite(etcd, 6);
    await (await start(site))[Symbol.asyncDispose]();
    await etcd.kill();
    const wg = { ...site.config.wg, endpoint: "192.0.2.66:51820" };
    await using node = await start({ ...site, config: { ...site.config, wg } });
    expect((await getText(node.url, "/healthz")).text).toContain("do not know this node as it is");
    expect(node.nodes.self().endpoint).toBe(wg.endpoint);
    await etcd.start();
    await using operator = await openOperator();
    await expect
      .poll(() => recordsOfNodes(operator)["node-6"], SOON)
      .toMatchObject({ endpoint: wg.endpoint });
    await expect.poll(async () => (await getText(node.url, "/healthz")).text, SOON).toBe('{"status":"ok"}');
  });

  it("a node that comes says how many instances it does not hear yet, and every node tells guests that there is another one", async () => {
    await using first = await etcdSite(etcd, 7);
    await using second = await etcdSite(etcd, 8);
    await using a = await start(first);
    await using told = await tellNodes({ host: "127.0.0.1", port: 0 }, a.nodes);
    const ask = (): Promise<string> =>
      promisify(execFile)("busybox", ["nc", "-w", "2", "127.0.0.1", String(told.port)]).then(
        ({ stdout }) => stdout,
      );
    const before = await ask();
    expect(before).toMatch(/^[0-9a-f]{64}\n$/);
    const key = generateKeyPair().publicKey;
    await register(a, { instance: "far" }, key);
    expect(await ask()).toBe(before);
    const wireguard = new MemoryWireGuard();
    for (const { publicKey } of a.registry.list()) wireguard.setHandshake(publicKey, 0);
    await using b = await start(second, { wireguard });
    const health = (): Promise<string> => getText(b.url, "/healthz").then(({ text }) => text);
    await expect.poll(health, SOON).toMatch(/has not heard (\d+) of \1 instances yet/);
    expect((await getText(b.url, "/metrics")).text).toMatch(/^tproxy_instances_unheard [1-9]/m);
    await expect.poll(ask, SOON).not.toBe(before);
    for (const { publicKey } of a.registry.list()) wireguard.setHandshake(publicKey, 1_763_800_000);
    await expect.poll(health, SOON).toBe('{"status":"ok"}');
  });
});
