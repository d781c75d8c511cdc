import { NodeName } from "./etcd-config.js";
import { StoreError } from "./store.js";
import type { Store } from "./store.js";

/** The record of who does a job now: the name of the node. */
const LEADER = "leader/";

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
  const each = <V>(value: (key: string) => V): Record<string, V> =>
    Object.fromEntries(keys.map((key) => [key, value(key)]));
  const lease = store.lease;
  if (!(await store.commit({ expect: each(() => 0), set: each(() => store.node), leased: true })))
    return undefined;
  // A lease that ended meanwhile has not bound the records, or took them along.
  const mine = each((key) => store.get(key)?.revision ?? 0);
  try {
    lease.throwIfAborted();
    return await work(outer === undefined ? lease : AbortSignal.any([lease, outer]));
  } finally {
    await resign(store, mine);
  }
}

/** Who does one of these jobs now, as far as this node knows. What others wrote there is told only if it is a name. */
export function leaderOf(store: Store, jobs: readonly string[]): string | undefined {
  const entry = jobs.map((job) => store.get(LEADER + job)).find((found) => found !== undefined);
  if (entry === undefined) return undefined;
  return NodeName.safeParse(entry.value).data ?? "a node without a name";
}

async function resign(store: Store, mine: Readonly<Record<string, number>>): Promise<void> {
  try {
    // Not what a successor has written.
    await store.commit({
      expect: mine,
      set: Object.fromEntries(Object.keys(mine).map((key) => [key, undefined])),
    });
  } catch (err) {
    // The lease does it then.
    if (!(err instanceof StoreError)) throw err;
  }
}
