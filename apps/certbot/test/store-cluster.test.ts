import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileStore, type Store } from "@dstack/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { memoryLog } from "../../../packages/acme/test/support/world.js";
import { StoreCluster } from "../src/cluster.js";

const NAMES = ["*.b.test", "b.test", "a.test"];
const signal = new AbortController().signal;

describe("a certbot among others", () => {
  let dir: string;
  let store: Store;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "certbot-cluster-"));
    store = await FileStore.open(join(dir, "store.jsonl"), "node-1");
  });
  afterEach(async () => {
    await store[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });
  const cluster = (waitMs = 60_000, log = memoryLog()): StoreCluster =>
    new StoreCluster(store, NAMES, { waitMs, prefix: "/p/", log });

  it("leads for each of its domains, waits for who does for one of them, and goes on then", async () => {
    const log = memoryLog();
    let release = (): void => {};
    const other = new StoreCluster(store, ["a.test"], { waitMs: 0, prefix: "/p/", log });
    const held = new Promise<void>((resolve) => (release = resolve));
    const first = other.lead(() => held, signal);
    const second = cluster(60_000, log).lead(async () => "done", signal);
    await expect.poll(() => log.lines.join()).toContain("is at work on a.test, b.test; waiting for it");
    expect(cluster().leader).toBe("node-1");
    release();
    await first;
    expect(await second).toBe("done");
    expect(log.lines).toHaveLength(1);
    expect(cluster().leader).toBeUndefined();
  });

  it("waits no longer than it was told to, whatever the record says", async () => {
    await store.commit({ set: { "leader/certificate/b.test": "\u001b[31m".repeat(1000) } });
    await expect(cluster(1_000).lead(async () => "done", signal)).rejects.toMatchObject({
      code: "busy",
      message: "a node without a name has been at work on a.test, b.test for 1 s",
    });
    const stop = AbortSignal.timeout(100);
    await expect(cluster().lead(async () => "done", stop)).rejects.toThrow("due to timeout");
  });

  it("tells of the newest accounts, however many there were: what it writes it can read", async () => {
    const path = "p".repeat(400);
    const account = (n: number) => ({
      directory: `https://ca${n}/${path}`,
      uri: `https://ca${n}/acct/${path}`,
    });
    for (let n = 0; n < 30; n++) await cluster().publish([account(n)]);
    const told = cluster().accounts();
    expect(told.at(-1)).toMatchObject(account(29));
    expect(new Set(told.map(({ uri }) => uri)).size).toBe(16);
  });

  it("tells its accounts once, beside those of other CAs", async () => {
    const account = (ca: string) => ({ directory: `https://${ca}/dir`, uri: `https://${ca}/acct/1` });
    await cluster().publish([account("x")]);
    await cluster().publish([account("x"), account("y")]);
    const told = [
      { ...account("x"), node: "node-1" },
      { ...account("y"), node: "node-1" },
    ];
    expect(cluster().accounts()).toEqual([...told, ...told]);
    const before = store.get("account/a.test")?.revision;
    await cluster().publish([account("y")]);
    expect(store.get("account/a.test")?.revision).toBe(before);
  });
});
