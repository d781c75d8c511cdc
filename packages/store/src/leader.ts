import { randomUUID } from "node:crypto";
import { sleep } from "@dstack/core";
import { NodeName } from "./etcd-config.js";
import { StoreError } from "./store.js";
import type { Store } from "./store.js";

/** The record of who does a job now: the name of the node, and a word that no other call has. */
const LEADER = "leader/";
const RESIGN_AGAIN_MS = 1_000;
const RESIGNATIONS = 60;

/** What calls of this process may have left, by an answer that was lost: its lease would hold that for as long as it runs. */
const leftBehind = new WeakMap<Store, Set<string>>();

/**
 * Does jobs that only one node may do at a time, such as asking for a certificate, unless another node is doing one of
 * them. A node that ends or loses the store gives them free when its lease is over.
 * @param jobs at most {@link MAX_CHANGE_KEYS}; all of them are had, or none
 * @param work must end soon when its signal aborts: another node may begin then
 * @returns what work returned, or undefined where another node, or another call on this one, is at it
 * @throws {StoreError} the store cannot be reached; what work throws; the signal's reason
 */
export async function whileLeading<T>(
  store: Store,
  jobs: readonly string[],
  work: (signal: AbortSignal) => Promise<T>,
  outer?: AbortSignal,
): Promise<T | undefined> {
  const keys = jobs.map((job) => LEADER + job);
  const lease = store.lease;
  const claim = `${store.node} ${randomUUID()}`;
  const expect = Object.fromEntries(keys.map((key) => [key, revisionOfNobody(store, key)]));
  const set = Object.fromEntries(keys.map((key) => [key, claim]));
  try {
    if (!(await store.commit({ expect, set, leased: true }))) return undefined;
  } catch (err) {
    // It may have been made.
    void resignLater(store, keys, claim, lease);
    throw err;
  }
  try {
    // A lease that ended meanwhile has not bound the records, or took them along.
    lease.throwIfAborted();
    return await work(outer === undefined ? lease : AbortSignal.any([lease, outer]));
  } finally {
    if (!(await resign(store, keys, claim))) void resignLater(store, keys, claim, lease);
  }
}

/** Of a record that nobody stands behind; 0 where there is none, or somebody does. */
function revisionOfNobody(store: Store, key: string): number {
  const entry = store.get(key);
  return entry !== undefined && leftBehind.get(store)?.has(entry.value) === true ? entry.revision : 0;
}

/** Who does one of these jobs now, as far as this node knows. What others wrote there is told only if it is a name. */
export function leaderOf(store: Store, jobs: readonly string[]): string | undefined {
  const entry = jobs.map((job) => store.get(LEADER + job)).find((found) => found !== undefined);
  if (entry === undefined) return undefined;
  return NodeName.safeParse(entry.value.split(" ")[0]).data ?? "a node without a name";
}

/** @returns whether the records are free, or a successor's */
async function resign(store: Store, keys: readonly string[], claim: string): Promise<boolean> {
  try {
    const known = keys.map((key) => [key, store.get(key)] as const);
    // Not what a successor has written.
    const mine = known.filter(([, entry]) => entry?.value === claim);
    return await store.commit({
      expect: Object.fromEntries(known.map(([key, entry]) => [key, entry?.revision ?? 0])),
      set: Object.fromEntries(mine.map(([key]) => [key, undefined])),
    });
  } catch (err) {
    if (!(err instanceof StoreError)) throw err;
    return false;
  }
}

/** While the store is away: it may be back before the lease is over, and with it what we wrote. */
async function resignLater(
  store: Store,
  keys: readonly string[],
  claim: string,
  lease: AbortSignal,
): Promise<void> {
  const left = leftBehind.get(store) ?? new Set();
  leftBehind.set(store, left.add(claim));
  for (let tries = 0; tries < RESIGNATIONS && !lease.aborted; tries++) {
    await sleep(RESIGN_AGAIN_MS, lease).catch(() => {});
    if (lease.aborted || (await resign(store, keys, claim).catch(() => false))) left.delete(claim);
    if (!left.has(claim)) return;
  }
}
