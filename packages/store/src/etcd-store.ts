import { errorMessage, sleep, withDeadline } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { etcdClient } from "./etcd-client.js";
import type { EtcdAccess } from "./etcd-client.js";
import { isOtherHistory, isRestorable } from "./etcd-history.js";
import type { History, Restore } from "./etcd-history.js";
import { explainRefusal } from "./etcd-refusal.js";
import { EtcdSession, LEASE_SECONDS } from "./etcd-session.js";
import type { SnapshotFile } from "./snapshot-file.js";
import { ALIVE, StoreError } from "./store.js";
import type { Change, Records, Store, StoreEntry } from "./store.js";
import { Table } from "./table.js";

export interface EtcdStoreOptions extends EtcdAccess {
  readonly node: string;
  /** What was known last, for a start while etcd cannot be reached. */
  readonly snapshot: SnapshotFile;
  /** For an etcd that was replaced, or restored from an earlier state; without it, what it has now is what there is. */
  readonly restore?: Restore | undefined;
  readonly log: Logger;
}

/** A start waits this long for etcd before it goes on with what was known last. */
const START_MS = 8_000;
/** A change waits this long for a member where there is none. */
const COMMIT_WAIT_MS = 4_000;
/** Between attempts to reach a member; longer each time all of them were tried. */
const RETRY_MS = 250;
const MAX_RETRY_MS = 4_000;
/** How often the lease is renewed. */
const HEARTBEAT_MS = 2_500;
/** Leased records count as lost this long before they can be, so that nobody else has them while we act on them. */
const LEASE_MARGIN_MS = 2_000;
/** How often what is known is written down, where it has changed. */
const SNAPSHOT_MS = 10_000;

/**
 * {@link Store} for several nodes, in etcd. One member is in use at a time, for changes, watch and lease alike. When it
 * fails the next one is used and everything read anew; while there is none, the node goes on with what it knows. An etcd that
 * has another history than the one it knows is written again what {@link EtcdStoreOptions.restore} says, before anybody hears.
 */
export class EtcdStore implements Store {
  readonly #options: EtcdStoreOptions;
  readonly #table = new Table();
  readonly #closing = new AbortController();
  readonly #tasks: Promise<void>[] = [];
  #session: EtcdSession | undefined;
  #trouble: string | undefined = "etcd was not reached yet";
  #asOf = 0;
  /** What this node knew before it reached etcd, of a start before, and then by itself. */
  #known: Records = new Map();
  #history: History | undefined;
  /** Those who wait for a session. */
  #waiting: (() => void)[] = [];
  #leaseId: string | undefined;
  #lease = AbortSignal.abort();
  #endLease: (() => void) | undefined;
  #leaseTimer: NodeJS.Timeout | undefined;

  private constructor(options: EtcdStoreOptions) {
    this.#options = options;
  }

  /**
   * Reads what is there, or, where etcd cannot be reached, what this node knew last.
   * @throws {StoreError} neither is there
   */
  static async open(options: EtcdStoreOptions): Promise<EtcdStore> {
    const store = new EtcdStore(options);
    const known = await options.snapshot.read().catch(() => undefined);
    if (known?.history !== undefined) [store.#known, store.#history] = [known.records, known.history];
    store.#tasks.push(store.#run(store.#closing.signal));
    try {
      await store.#connected(START_MS);
    } catch (err) {
      if (known === undefined) {
        await store[Symbol.asyncDispose]();
        throw err;
      }
      if (store.#session === undefined) store.#table.replace(known.records);
      options.log.error(
        { err, records: known.records.size },
        "starting without etcd, with what this node knew last",
      );
    }
    store.#tasks.push(store.#keepSnapshot(store.#closing.signal));
    return store;
  }

  get node(): string {
    return this.#options.node;
  }

  get trouble(): string | undefined {
    return this.#trouble;
  }

  get asOf(): number {
    return this.#asOf;
  }

  get lease(): AbortSignal {
    return this.#lease;
  }

  get(key: string): StoreEntry | undefined {
    return this.#table.get(key);
  }

  list(prefix: string): Iterable<readonly [string, StoreEntry]> {
    return this.#table.list(prefix);
  }

  onChange(listener: (keys: ReadonlySet<string>) => void): void {
    this.#table.onChange(listener);
  }

  async commit(change: Change): Promise<boolean> {
    const session = await this.#connected(COMMIT_WAIT_MS);
    // Between two leases there is nothing that a record could be bound to.
    if (change.leased === true && this.#lease.aborted) {
      throw new StoreError("unavailable", "this node has no lease in etcd now");
    }
    try {
      return (await session.commit(change, change.leased === true ? (this.#leaseId ?? 0) : 0)) !== undefined;
    } catch (err) {
      session.end(err);
      throw new StoreError("unavailable", `etcd did not answer: ${errorMessage(err)}`, {}, { cause: err });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#tasks);
    this.#loseLease();
  }

  /** The session in use. @throws {StoreError} there is none for too long */
  async #connected(ms: number): Promise<EtcdSession> {
    if (this.#session === undefined) {
      await withDeadline(
        "reaching etcd",
        ms,
        () => new Promise<void>((resolve) => this.#waiting.push(resolve)),
        this.#closing.signal,
      ).catch(() => {});
    }
    if (this.#session === undefined) {
      throw new StoreError("unavailable", `etcd cannot be used: ${this.#trouble ?? "the store is closed"}`);
    }
    return this.#session;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { endpoints, log } = this.#options;
    let refusals = 0;
    for (let attempt = 0; !signal.aborted; attempt++) {
      const endpoint = endpoints[attempt % endpoints.length] ?? "";
      const began = performance.now();
      try {
        await this.#useMember(endpoint, signal);
      } catch (err) {
        if (signal.aborted) return;
        const refusal = explainRefusal(err, this.#options);
        const reason = `${endpoint}: ${refusal ?? errorMessage(err).trim()}`;
        if (this.#trouble === undefined)
          log.error({ err, endpoint }, "lost etcd; going on with what is known");
        this.#trouble = reason;
        refusals = refusal === undefined ? 0 : refusals + 1;
        // Nobody needs to wait for what every member refuses.
        if (refusals >= endpoints.length) for (const resolve of this.#waiting.splice(0)) resolve();
      }
      // One that served for a while is no reason to wait for the next.
      if (performance.now() - began > HEARTBEAT_MS * 2) attempt %= endpoints.length;
      const rounds = Math.floor(attempt / endpoints.length);
      await sleep(Math.min(RETRY_MS * 2 ** rounds, MAX_RETRY_MS), signal).catch(() => {});
    }
  }

  /** Works with one member until it fails. */
  async #useMember(endpoint: string, signal: AbortSignal): Promise<void> {
    const { prefix, node, log } = this.#options;
    const began = Date.now();
    const session = await EtcdSession.open(
      etcdClient(this.#options, endpoint),
      prefix,
      this.#table,
      (there, at) => this.#restored(there, at),
    );
    this.#asOf = began;
    this.#note(session);
    const stop = AbortSignal.any([signal, session.over]);
    try {
      for (let [written, at] = [0, 0]; ;) {
        await this.#renewLease(session);
        // What went out must come back: a member that is cut off from the others answers, but hears nothing.
        if (session.seen < written) throw new Error("its watch does not follow");
        this.#asOf = Math.max(this.#asOf, at);
        this.#note(session);
        const alive = { set: { [ALIVE + node]: "" }, leased: true };
        at = Date.now();
        written = (await session.commit(alive, this.#leaseId ?? 0)) ?? written;
        if (this.#session === undefined) {
          this.#session = session;
          if (this.#trouble !== undefined) log.info({ endpoint }, "etcd is in use");
          this.#trouble = undefined;
          for (const resolve of this.#waiting.splice(0)) resolve();
        }
        await sleep(HEARTBEAT_MS, stop);
      }
    } catch (err) {
      if (signal.aborted && this.#leaseId !== undefined) {
        await session.revokeLease(this.#leaseId).catch(() => {});
      }
      throw session.over.aborted ? session.over.reason : err;
    } finally {
      this.#session = undefined;
      session.end(new Error("no longer in use"));
    }
  }

  /** What is in the table now is of this history. */
  #note({ cluster, seen: revision }: EtcdSession): void {
    this.#history = { cluster, revision, asOf: this.#asOf };
    this.#known = new Map();
  }

  /** What is to be written into an etcd that does not go on from what this node knows. */
  #restored(there: Records, at: Pick<History, "cluster" | "revision">): readonly Change[] {
    const { restore, log } = this.#options;
    const history = this.#history;
    if (history === undefined || !isOtherHistory(history, at)) return [];
    const known = new Map([...this.#known, ...this.#table.list("")]);
    const changes = isRestorable(history, Date.now()) ? (restore?.(known, there) ?? []) : [];
    log.warn(
      { before: history, now: at, records: there.size, changes: changes.length },
      "etcd is another one, or of an earlier state, than this node knew: what of it is missed there is written again",
    );
    return changes;
  }

  async #renewLease(session: EtcdSession): Promise<void> {
    // Its time runs from before it was asked for.
    const from = performance.now();
    if (this.#leaseId === undefined || !(await session.keepLease(this.#leaseId))) {
      this.#loseLease();
      this.#leaseId = await session.grantLease();
    }
    if (this.#lease.aborted) {
      const lease = new AbortController();
      this.#lease = lease.signal;
      this.#endLease = () =>
        lease.abort(new StoreError("unavailable", "this node's lease in etcd has ended"));
    }
    clearTimeout(this.#leaseTimer);
    const left = LEASE_SECONDS * 1000 - LEASE_MARGIN_MS - (performance.now() - from);
    this.#leaseTimer = setTimeout(() => this.#loseLease(), left);
    this.#leaseTimer.unref();
  }

  #loseLease(): void {
    clearTimeout(this.#leaseTimer);
    this.#leaseId = undefined;
    this.#endLease?.();
  }

  async #keepSnapshot(signal: AbortSignal): Promise<void> {
    let changed = true;
    this.onChange((keys) => (changed ||= [...keys].some((key) => !key.startsWith(ALIVE))));
    // Once more at the end: a program that runs for a moment has written since.
    for (let last = false; !last;) {
      last = signal.aborted;
      if (changed && this.#trouble === undefined) {
        changed = false;
        const records = [...this.list("")].filter(([key]) => !key.startsWith(ALIVE));
        await this.#options.snapshot
          .write(records, this.#history)
          .catch((err: unknown) => this.#options.log.error({ err }, "writing down what is known failed"));
      }
      await sleep(SNAPSHOT_MS, signal).catch(() => {});
    }
  }
}
