import { once } from "node:events";
import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { parseInstanceId } from "@dstack/core";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Tproxy } from "../src/index.js";
import { EtcdServer, etcdUnavailable } from "../../../packages/store/test/support/etcd-server.js";
import { startApp } from "./app.js";
import { etcdSite } from "./etcd-site.js";
import { MemoryWireGuard } from "./memory-wireguard.js";
import { BASE, idOf, register, start } from "./site.js";

const reason = etcdUnavailable();
if (reason !== undefined) console.warn(`skipping the tests of several nodes: ${reason}`);

/** A machine under load is slow; a fault of ours lasts. */
const SOON = { timeout: 30_000, interval: 100 };

describe.skipIf(reason !== undefined)("several nodes in one process", { timeout: 120_000 }, () => {
  let etcd: EtcdServer;
  beforeAll(async () => {
    etcd = await EtcdServer.start();
  }, 60_000);
  afterAll(() => etcd[Symbol.asyncDispose]());

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
});
