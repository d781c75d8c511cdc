import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { FileStore } from "../src/file-store.js";
import { leaderOf, whileLeading } from "../src/leader.js";
import { StoreError } from "../src/store.js";
import type { Change, Store } from "../src/store.js";

const JOBS = ["certificate/a.test", "certificate/b.test"];

/** A store whose answer to a change is lost, made or not, as with a member of etcd that ends; its lease goes on. */
async function flakyStore() {
  const dir = await mkdtemp(join(tmpdir(), "leader-"));
  const inner = await FileStore.open(join(dir, "store.jsonl"), "here");
  let next: "made" | "lost" | undefined;
  const store: Store = {
    node: "here",
    trouble: undefined,
    asOf: 0,
    lease: inner.lease,
    get: (key) => inner.get(key),
    list: (prefix) => inner.list(prefix),
    onChange: (listener) => inner.onChange(listener),
    commit: async (change: Change) => {
      const how = next;
      next = undefined;
      if (how === "lost") throw new StoreError("unavailable", "lost");
      const made = await inner.commit(change);
      if (how === "made") throw new StoreError("unavailable", "lost");
      return made;
    },
    [Symbol.asyncDispose]: async () => {
      await inner[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
  return { store, loseNext: (how: "made" | "lost") => (next = how) };
}

const again = (store: Store): Promise<string | undefined> => whileLeading(store, JOBS, async () => "again");

it.each(["made", "lost"] as const)("gives jobs free whose end was %s without an answer", async (how) => {
  const { store, loseNext } = await flakyStore();
  await using _ = store;
  const resigned = async (): Promise<string> => {
    loseNext(how);
    return "done";
  };
  expect(await whileLeading(store, JOBS, resigned)).toBe("done");
  expect(await again(store)).toBe("again");
  // For others, too.
  expect(await whileLeading(store, JOBS, resigned)).toBe("done");
  await expect.poll(() => leaderOf(store, JOBS)).toBeUndefined();
});

it("gives jobs free that it had without an answer", async () => {
  const { store, loseNext } = await flakyStore();
  await using _ = store;
  loseNext("made");
  await expect(again(store)).rejects.toThrow("lost");
  expect(leaderOf(store, JOBS)).toBe("here");
  expect(await again(store)).toBe("again");
  loseNext("made");
  await expect(again(store)).rejects.toThrow("lost");
  await expect.poll(() => leaderOf(store, JOBS)).toBeUndefined();
});
