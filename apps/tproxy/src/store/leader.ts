import { StoreError } from "./store.js";
import type { Store } from "./store.js";

/** The record of who does a job now: the name of the node. */
const LEADER = "leader/";

/**
 * Does a job that only one node may do at a time, such as asking for a certificate, unless another node is doing it.
 * A node that ends or loses the store gives the job free when its lease is over.
 * @param work must end soon when its signal aborts: another node may begin then
 * @returns what work returned, or undefined where another node, or another call on this one, is at it
 * @throws {StoreError} the store cannot be reached; what work throws; the signal's reason
 */
export async function whileLeading<T>(
  store: Store,
  job: string,
  work: (signal: AbortSignal) => Promise<T>,
  outer?: AbortSignal,
): Promise<T | undefined> {
  const key = LEADER + job;
  const lease = store.lease;
  if (!(await store.commit({ expect: { [key]: 0 }, set: { [key]: store.node }, leased: true })))
    return undefined;
  // A lease that ended meanwhile has not bound the record, or took it along.
  const mine = store.get(key);
  try {
    lease.throwIfAborted();
    return await work(outer === undefined ? lease : AbortSignal.any([lease, outer]));
  } finally {
    await resign(store, key, mine?.revision ?? 0);
  }
}

async function resign(store: Store, key: string, revision: number): Promise<void> {
  try {
    // Not what a successor has written.
    await store.commit({ expect: { [key]: revision }, set: { [key]: undefined } });
  } catch (err) {
    // The lease does it then.
    if (!(err instanceof StoreError)) throw err;
  }
}
