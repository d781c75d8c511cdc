import { expect, it } from "vitest";
import { leaderOf, whileLeading } from "../src/leader.js";
import { ALIVE } from "../src/store.js";
import type { Change, Store } from "../src/store.js";

/** A place for the state of one test. */
export interface StorePlace extends AsyncDisposable {
  open(node?: string): Promise<Store>;
  /** Opens what a node that was killed a moment ago has left; the killed one is abandoned, not closed. */
  reopenAfterKill(killed: Store): Promise<Store>;
}

const revisionOf = (store: Store, key: string): number => store.get(key)?.revision ?? 0;
const values = (store: Store, prefix: string): Record<string, string> =>
  Object.fromEntries([...store.list(prefix)].map(([key, { value }]) => [key, value]));

/** What every {@link Store} keeps to. */
export function storeContract(makePlace: () => Promise<StorePlace>): void {
  it("gives back what was written, by key and by prefix, and forgets what was deleted", async () => {
    await using place = await makePlace();
    await using store = await place.open();
    await store.commit({ set: { "a/1": "one", "a/2": "zwei — 2", "b/1": "" } });
    expect(values(store, "a/")).toEqual({ "a/1": "one", "a/2": "zwei — 2" });
    expect(store.get("b/1")?.value).toBe("");
    await store.commit({ set: { "a/1": undefined, "a/2": "two" } });
    expect(values(store, "a/")).toEqual({ "a/2": "two" });
    expect(store.get("a/1")).toBeUndefined();
  });

  it("writes all of a change or nothing, by the revisions that it expects", async () => {
    await using place = await makePlace();
    await using store = await place.open();
    expect(await store.commit({ expect: { a: 0 }, set: { a: "1" } })).toBe(true);
    expect(await store.commit({ expect: { a: 0, b: 0 }, set: { a: "2", b: "2" } })).toBe(false);
    expect(values(store, "")).toMatchObject({ a: "1" });
    expect(store.get("b")).toBeUndefined();
    const first = revisionOf(store, "a");
    expect(await store.commit({ expect: { a: first }, set: { a: "1" } })).toBe(true);
    expect(revisionOf(store, "a")).not.toBe(first); // the same value is a write all the same
    expect(await store.commit({ expect: { a: first }, set: { a: undefined } })).toBe(false);
    expect(await store.commit({ expect: { a: revisionOf(store, "a") }, set: { a: undefined } })).toBe(true);
    expect(await store.commit({ expect: { a: first }, set: { a: "3" } })).toBe(false);
  });

  it("lets one of many at once have a record, and each change count", async () => {
    await using place = await makePlace();
    await using store = await place.open();
    const claims = Array.from({ length: 20 }, (_, n) => ({ expect: { key: 0 }, set: { key: String(n) } }));
    const made = await Promise.all(claims.map((change) => store.commit(change)));
    expect(made.filter(Boolean)).toHaveLength(1);
    const add = async (): Promise<void> => {
      for (;;) {
        const n = Number(store.get("sum")?.value ?? 0);
        const change: Change = { expect: { sum: revisionOf(store, "sum") }, set: { sum: String(n + 1) } };
        if (await store.commit(change)) return;
      }
    };
    await Promise.all(Array.from({ length: 10 }, add));
    expect(store.get("sum")?.value).toBe("10");
  });

  it("tells of changes, with all keys of a change at once, when they can be read", async () => {
    await using place = await makePlace();
    await using store = await place.open();
    const heard: string[] = [];
    store.onChange((keys) => {
      const ours = [...keys].filter((key) => !key.startsWith(ALIVE));
      if (ours.length > 0) heard.push(ours.map((key) => `${key}=${store.get(key)?.value ?? ""}`).join(" "));
    });
    await store.commit({ set: { a: "1", b: "1" } });
    await store.commit({ set: { a: undefined } });
    await store.commit({ expect: { b: 0 }, set: { b: "2" } });
    expect(heard).toEqual(["a=1 b=1", "a="]);
  });

  it("keeps what it acknowledged over kill -9", async () => {
    await using place = await makePlace();
    const killed = await place.open();
    for (let n = 0; n < 50; n++) await killed.commit({ set: { [`k/${n}`]: `value ${n}`, last: String(n) } });
    await killed.commit({ set: { "k/7": undefined } });
    await using store = await place.reopenAfterKill(killed);
    expect(Object.keys(values(store, "k/"))).toHaveLength(49);
    expect(store.get("last")?.value).toBe("49");
    expect(await store.commit({ expect: { last: revisionOf(store, "last") }, set: { last: "50" } })).toBe(
      true,
    );
  });

  it("says who is alive, and gives leased records up with their node", async () => {
    await using place = await makePlace();
    {
      await using store = await place.open("first");
      expect([...store.list(ALIVE)].map(([key]) => key)).toEqual([`${ALIVE}first`]);
      expect(store.trouble).toBeUndefined();
      expect(await store.commit({ set: { "leased/1": "x" }, leased: true })).toBe(true);
      expect(store.get("leased/1")?.value).toBe("x");
    }
    await using store = await place.open("second");
    expect([...store.list(ALIVE)].map(([key]) => key)).toEqual([`${ALIVE}second`]);
    expect(store.get("leased/1")).toBeUndefined();
  });

  it("gives a job to one at a time, and gives it free at its end, also of a failure", async () => {
    await using place = await makePlace();
    await using store = await place.open();
    const result = await whileLeading(store, ["certificate"], async (signal) => {
      expect(await whileLeading(store, ["certificate"], async () => "second")).toBeUndefined();
      expect(await whileLeading(store, ["another"], async () => "beside it")).toBe("beside it");
      const both = ["another", "certificate"];
      expect(await whileLeading(store, both, async () => "one of them is taken")).toBeUndefined();
      expect(leaderOf(store, both)).toBe(store.node);
      expect(leaderOf(store, ["another"])).toBeUndefined(); // what was had with it is free
      expect(signal.aborted).toBe(false);
      return "first";
    });
    expect(result).toBe("first");
    expect(leaderOf(store, ["certificate"])).toBeUndefined();
    await store.commit({ set: { "leader/certificate": "\u001b[2J" } });
    expect(leaderOf(store, ["certificate"])).toBe("a node without a name");
    await store.commit({ set: { "leader/certificate": undefined } });
    const failing = whileLeading(store, ["certificate"], () => Promise.reject(new Error("no luck")));
    await expect(failing).rejects.toThrow("no luck");
    expect(await whileLeading(store, ["certificate"], async () => "again")).toBe("again");
  });
}
