import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "@dstack/daemon";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Restore } from "../src/etcd-history.js";
import { EtcdStore } from "../src/etcd-store.js";
import { FileStore } from "../src/file-store.js";
import { whileLeading } from "../src/leader.js";
import { SnapshotFile } from "../src/snapshot-file.js";
import { ALIVE } from "../src/store.js";
import { EtcdServer, etcdUnavailable } from "./support/etcd-server.js";
import { storeContract } from "./store-contract.js";
import type { StorePlace } from "./store-contract.js";

async function makeDirectory(): Promise<{ dir: string } & AsyncDisposable> {
  const dir = await mkdtemp(join(tmpdir(), "store-"));
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

async function filePlace(): Promise<StorePlace & { path: string }> {
  const directory = await makeDirectory();
  const path = join(directory.dir, "store.jsonl");
  return {
    path,
    open: (node = "here") => FileStore.open(path, node),
    reopenAfterKill: () => FileStore.open(path, "here"),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

describe("file store", () => {
  storeContract(filePlace);

  it("drops a last line that a crash left unfinished, and refuses damage before it, naming the line", async () => {
    await using place = await filePlace();
    await (await place.open()).commit({ set: { a: "1" } });
    await appendFile(place.path, '{"a":"2","b":');
    {
      await using store = await place.open();
      expect(store.get("a")?.value).toBe("1");
    }
    await appendFile(place.path, '{"a":"2\n{"a":"3"}\n');
    await expect(place.open()).rejects.toThrow(`${place.path}, line 3`);
    await writeFile(place.path, "something else\n");
    await expect(place.open()).rejects.toThrow("is not a store of tproxy");
  });

  it("is for its owner only, and does not grow with what is no longer in it", async () => {
    await using place = await filePlace();
    {
      await using store = await place.open();
      const value = "x".repeat(50_000);
      for (let n = 0; n < 60; n++) await store.commit({ set: { a: value + String(n) } });
      expect((await stat(place.path)).size).toBeLessThan(1.5 * 2 ** 20);
    }
    expect((await stat(place.path)).mode & 0o777).toBe(0o600);
    await using _store = await place.open();
    expect((await readFile(place.path, "utf8")).split("\n")).toHaveLength(3);
  });

  it("refuses a change that it cannot write, and goes on when it can again", async () => {
    await using place = await filePlace();
    await using store = await place.open();
    await store.commit({ set: { a: "1" } });
    await rm(join(place.path, ".."), { recursive: true });
    // The open file still takes lines, into nowhere: a rewrite is what notices.
    const value = "x".repeat(2 ** 20);
    const failed = async (): Promise<void> => {
      for (let n = 0; n < 5; n++) await store.commit({ set: { b: value } });
    };
    await expect(failed()).rejects.toMatchObject({ code: "unavailable" });
    expect(store.get("a")?.value).toBe("1");
  });
});

const reason = etcdUnavailable();
if (reason !== undefined) console.warn(`skipping the tests with etcd: ${reason}`);

describe.skipIf(reason !== undefined)("etcd store", () => {
  let server: EtcdServer;
  let directory: { dir: string } & AsyncDisposable;
  let places = 0;
  beforeAll(async () => {
    server = await EtcdServer.start();
    directory = await makeDirectory();
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  const snapshotOf = (node: string): string => join(directory.dir, `${places}-${node}.json`);

  async function etcdPlace(): Promise<StorePlace> {
    const place = ++places;
    const open = (node = "here"): Promise<EtcdStore> =>
      EtcdStore.open({
        endpoints: [server.endpoint],
        prefix: `/test-${place}/`,
        node,
        snapshot: new SnapshotFile(join(directory.dir, `${place}-${node}.json`)),
        maxBytes: 2 ** 20,
        log: silentLogger(),
      });
    const abandoned: EtcdStore[] = [];
    return {
      open,
      reopenAfterKill: (killed) => {
        abandoned.push(killed as EtcdStore);
        return open();
      },
      [Symbol.asyncDispose]: async () => {
        for (const store of abandoned) await store[Symbol.asyncDispose]();
      },
    };
  }

  storeContract(etcdPlace);

  it("brings a change of one node to the others", async () => {
    await using place = await etcdPlace();
    await using a = await place.open("a");
    await using b = await place.open("b");
    const heard: string[] = [];
    b.onChange((keys) => heard.push(...[...keys].filter((key) => !key.startsWith(ALIVE))));
    await a.commit({ set: { x: "1", y: "1" } });
    await expect.poll(() => b.get("y")?.value).toBe("1");
    await a.commit({ set: { x: undefined } });
    await expect.poll(() => b.get("x")).toBeUndefined();
    expect(heard).toEqual(["x", "y", "x"]);
    expect([...b.list(ALIVE)].map(([key]) => key).toSorted()).toEqual([`${ALIVE}a`, `${ALIVE}b`]);
    // What a failed expectation says is the state that it failed on, whatever the watch has brought by then.
    await a.commit({ set: { z: "a's" } });
    if (!(await b.commit({ expect: { z: 0 }, set: { z: "b's" } }))) expect(b.get("z")?.value).toBe("a's");
    expect(b.get("z")?.value).toBe("a's");
  });

  it("elects one of several nodes", async () => {
    await using place = await etcdPlace();
    const nodes = await Promise.all(["a", "b", "c"].map((name) => place.open(name)));
    let [atWork, without] = [0, 0];
    let finish = (): void => {};
    const othersAreDone = new Promise<void>((resolve) => (finish = resolve));
    const turns = await Promise.all(
      nodes.map(async (node) => {
        const turn = await whileLeading(node, ["job"], async () => {
          expect(++atWork).toBe(1);
          await othersAreDone;
          return node.node;
        });
        if (turn === undefined && ++without === nodes.length - 1) finish();
        return turn;
      }),
    );
    expect(turns.filter((turn) => turn !== undefined)).toHaveLength(1);
    for (const node of nodes) await node[Symbol.asyncDispose]();
  });

  it("serves what it knows while etcd is away, says so, refuses changes in time, and catches up", async () => {
    await using own = await EtcdServer.start();
    await using outside = await makeDirectory();
    const options = (node: string) => ({
      endpoints: [own.endpoint],
      prefix: "/away/",
      node,
      snapshot: new SnapshotFile(join(outside.dir, `${node}.json`)),
      maxBytes: 2 ** 20,
      log: silentLogger(),
    });
    await using a = await EtcdStore.open(options("a"));
    await a.commit({ set: { x: "1" } });
    await using b = await EtcdStore.open(options("b")); // and writes down at once what it knows
    const leading = whileLeading(
      a,
      ["job"],
      (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve)),
    );
    await expect.poll(() => readFile(options("b").snapshot.path, "utf8").catch(() => "")).toContain('"1"');

    const written = Date.now();
    await expect.poll(() => a.asOf).toBeGreaterThan(written);
    own.signal("SIGSTOP"); // it does not refuse: it says nothing
    const stopped = Date.now();
    await expect.poll(() => a.trouble).toBeDefined();
    expect(a.asOf).toBeLessThanOrEqual(stopped);
    expect(a.get("x")?.value).toBe("1");
    const began = performance.now();
    const refused = expect(a.commit({ set: { x: "2" } })).rejects.toMatchObject({ code: "unavailable" });
    const stranger = expect(EtcdStore.open(options("new"))).rejects.toMatchObject({ code: "unavailable" });
    {
      await using restarted = await EtcdStore.open(options("b"));
      expect(restarted.get("x")?.value).toBe("1");
      expect(restarted.trouble).toBeDefined();
      expect(restarted.asOf).toBe(0);
    }
    await Promise.all([refused, stranger]);
    expect(performance.now() - began).toBeLessThan(100_000);
    await leading; // told to stop, before another node may begin

    await own.kill();
    await own.start();
    await expect.poll(() => [a.trouble, b.trouble]).toEqual([undefined, undefined]);
    expect(a.asOf).toBeGreaterThan(stopped);
    await b.commit({ set: { x: "3" } });
    await expect.poll(() => a.get("x")?.value).toBe("3");
  });

  it("P5: writes again what it is told to where etcd was replaced, before anybody hears that it was missed", async () => {
    await using own = await EtcdServer.start();
    await using outside = await makeDirectory();
    const restore: Restore = (known, there) =>
      [...known]
        .filter(([key]) => key.startsWith("kept/") && !there.has(key))
        .map(([key, { value }]) => ({ expect: { [key]: 0 }, set: { [key]: value } }));
    const options = (node: string) => ({
      endpoints: [own.endpoint],
      prefix: "/replaced/",
      node,
      snapshot: new SnapshotFile(join(outside.dir, `${node}.json`)),
      maxBytes: 2 ** 20,
      restore,
      log: silentLogger(),
    });
    const patient = { timeout: 120_000, interval: 100 };
    {
      await using a = await EtcdStore.open(options("a"));
      await using b = await EtcdStore.open(options("b"));
      await a.commit({ set: { "kept/1": "x", other: "y" } });
      await expect.poll(() => b.get("other")?.value, patient).toBe("y");
      const missed = new Set<string>();
      for (const store of [a, b]) {
        store.onChange((keys) => {
          for (const key of keys) if (store.get(key) === undefined) missed.add(key);
        });
      }
      await own.replace();
      await expect
        .poll(
          () => [a, b].map((store) => [store.trouble, store.get("other"), store.get("kept/1")?.value]),
          patient,
        )
        .toEqual([
          [undefined, undefined, "x"],
          [undefined, undefined, "x"],
        ]);
      expect([...missed].filter((key) => key.startsWith("kept/"))).toEqual([]);
    }
    // Nor while nobody runs: what was known is in a file.
    await own.replace();
    await using later = await EtcdStore.open(options("a"));
    expect(later.get("kept/1")?.value).toBe("x");
  }, 300_000);

  it("writes down what it knows when it is closed, too", async () => {
    await using place = await etcdPlace();
    const store = await place.open("brief");
    await expect.poll(() => readFile(snapshotOf("brief"), "utf8").catch(() => "")).toContain("records");
    await store.commit({ set: { late: "1" } });
    await store[Symbol.asyncDispose]();
    expect(await readFile(snapshotOf("brief"), "utf8")).toContain('"late"');
  });

  it("reads no more than it was told to, whatever others have put there", async () => {
    const options = (node: string, maxBytes: number) => ({
      endpoints: [server.endpoint],
      prefix: "/bounded/",
      node,
      snapshot: new SnapshotFile(join(directory.dir, `bounded-${node}.json`)),
      maxBytes,
      log: silentLogger(),
    });
    await using flooder = await EtcdStore.open(options("flooder", 2 ** 20));
    await flooder.commit({ set: { a: "x".repeat(100_000) } });
    await expect(EtcdStore.open(options("here", 65_536))).rejects.toThrow("message larger than max");
    await flooder.commit({ set: { a: undefined } });
    await using store = await EtcdStore.open(options("here", 65_536));
    expect(store.trouble).toBeUndefined();
  });
});
