import { EtcdLeaseInvalidError } from "etcd3";
import type { Etcd3, IKeyValue, IRequestOp, ITxnResponse, IWatchResponse } from "etcd3";
import { abortable } from "@dstack/core";
import type { Change, Records, StoreEntry } from "./store.js";
import type { Table } from "./table.js";

/** A lease that nobody keeps alive ends after this many seconds; its node counts as gone then. */
export const LEASE_SECONDS = 10;
/** A watch is taken up, or a lease kept alive, within this time, or the member counts as lost. */
const STREAM_MS = 2_000;
/** Changes of a restore that are under way at once. */
const RESTORING = 32;

/**
 * One etcd member in use: a table that was read from it once and is kept by its watch, and changes through it. It is
 * over when the member stops answering; a new one begins with reading everything.
 */
export class EtcdSession {
  readonly #over = new AbortController();
  /** Everything up to this revision has come through the watch. */
  #seen = 0;
  #cluster = "";
  /** Revisions of our own changes that are in the table already and have not come through the watch yet, by key. */
  readonly #ahead = new Map<string, number>();

  private constructor(
    readonly client: Etcd3,
    readonly prefix: string,
    readonly table: Table,
  ) {}

  /** Aborts, with the reason, when the member is lost. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** Every change up to this revision is in the table. */
  get seen(): number {
    return this.#seen;
  }

  /** The id of the cluster that the member is of. */
  get cluster(): string {
    return this.#cluster;
  }

  /**
   * Reads everything and begins to watch.
   * @param onRead gets what is there before the table does, and says what is to be written first; each change by itself, where
   * its expectations hold
   * @throws what the member failed with
   */
  static async open(
    client: Etcd3,
    prefix: string,
    table: Table,
    onRead: (there: Records, at: { cluster: string; revision: number }) => readonly Change[],
  ): Promise<EtcdSession> {
    const session = new EtcdSession(client, prefix, table);
    try {
      let there = await session.#readAll();
      const changes = onRead(there, { cluster: session.cluster, revision: session.seen });
      for (let from = 0; from < changes.length; from += RESTORING) {
        await Promise.all(changes.slice(from, from + RESTORING).map((change) => session.#txn(change, 0)));
      }
      if (changes.length > 0) there = await session.#readAll();
      table.replace(there);
      await session.#watch();
      return session;
    } catch (err) {
      session.end(err);
      throw err;
    }
  }

  end(reason: unknown): void {
    if (this.over.aborted) return;
    this.#over.abort(reason);
    this.client.close();
  }

  /**
   * @param lease of the records that are written; 0 for none
   * @returns the revision of the change, or undefined when an expectation does not hold
   */
  async commit(change: Change, lease: string | 0): Promise<number | undefined> {
    const { expect = {}, set } = change;
    const expected = Object.keys(expect);
    const { succeeded, header, responses } = await this.#txn(change, lease);
    const revision = Number(header.revision);
    const found = succeeded
      ? Object.entries(set).map(
          ([key, value]) => [key, value === undefined ? value : { value, revision }] as const,
        )
      : expected.map((key, index) => {
          const [kv] = responses[index]?.response_range.kvs ?? [];
          return [key, kv === undefined ? kv : this.#read(kv)[1]] as const;
        });
    // What the watch has brought meanwhile is newer.
    if (revision > this.#seen) {
      for (const [key] of found) this.#ahead.set(key, revision);
      this.table.apply(found);
    }
    return succeeded ? revision : undefined;
  }

  async #readAll(): Promise<Records> {
    const { kvs, header } = await this.client.kv.range(this.#everything);
    this.#seen = Number(header.revision);
    this.#cluster = header.cluster_id;
    return new Map(kvs.map((kv) => this.#read(kv)));
  }

  #txn({ expect = {}, set }: Change, lease: string | 0): Promise<ITxnResponse> {
    const expected = Object.keys(expect);
    return this.client.kv.txn({
      compare: expected.map((key) => ({
        key: this.#key(key),
        target: "Mod",
        result: "Equal",
        mod_revision: expect[key] ?? 0,
      })),
      success: Object.entries(set).map(([key, value]): IRequestOp => {
        if (value === undefined) return { request_delete_range: { key: this.#key(key) } };
        return { request_put: { key: this.#key(key), value: Buffer.from(value), lease } };
      }),
      failure: expected.map((key): IRequestOp => ({ request_range: { key: this.#key(key) } })),
    });
  }

  async grantLease(): Promise<string> {
    return (await this.client.leaseClient.leaseGrant({ TTL: LEASE_SECONDS })).ID;
  }

  /** @returns false when the lease has ended */
  async keepLease(id: string): Promise<boolean> {
    const stream = await this.client.leaseClient.leaseKeepAlive();
    try {
      const answer = new Promise<{ TTL: string }>((resolve, reject) => {
        stream.on("data", resolve);
        stream.on("error", reject);
        stream.on("end", () => reject(new EtcdLeaseInvalidError(id)));
        stream.write({ ID: id });
      });
      return (await abortable(answer, AbortSignal.timeout(STREAM_MS))).TTL !== "0";
    } finally {
      // The library takes the end of a stream that could still be written to for a failure of the member, and closes every
      // channel to it: under the next call, which fails if it has no connection yet.
      stream.end();
      stream.cancel();
    }
  }

  async revokeLease(id: string): Promise<void> {
    await this.client.leaseClient.leaseRevoke({ ID: id });
  }

  async #watch(): Promise<void> {
    const stream = await abortable(this.client.watchClient.watch(), AbortSignal.timeout(STREAM_MS));
    this.over.addEventListener("abort", () => stream.cancel(), { once: true });
    stream.on("end", () => this.end(new Error("the watch was ended")));
    const created = new Promise<void>((resolve, reject) => {
      stream.on("error", (err) => {
        this.end(err);
        reject(err);
      });
      stream.on("data", (response) => {
        if (this.over.aborted) return;
        if (response.canceled) this.end(new Error(`the watch was cancelled: ${response.cancel_reason}`));
        else if (response.created) resolve();
        else this.#take(response);
      });
    });
    stream.write({
      create_request: { ...this.#everything, start_revision: this.#seen + 1, progress_notify: true },
    });
    await abortable(created, AbortSignal.any([this.over, AbortSignal.timeout(STREAM_MS)]));
  }

  #take({ events, header }: IWatchResponse): void {
    const changes = new Map<string, StoreEntry | undefined>();
    for (const { type, kv } of events) {
      const [key, entry] = this.#read(kv);
      if ((this.#ahead.get(key) ?? 0) < entry.revision) changes.set(key, type === "Put" ? entry : undefined);
    }
    // A response that is late has a newer revision in its header than its events have.
    this.#seen = Number(events.at(-1)?.kv.mod_revision ?? header.revision);
    for (const [key, revision] of this.#ahead) if (revision <= this.#seen) this.#ahead.delete(key);
    this.table.apply(changes);
  }

  get #everything(): { key: Buffer; range_end: Buffer } {
    const key = Buffer.from(this.prefix);
    const end = Buffer.from(key);
    // The prefix ends with a slash, which is not the last of all bytes.
    end[end.length - 1] = (end.at(-1) ?? 0) + 1;
    return { key, range_end: end };
  }

  #key(key: string): Buffer {
    return Buffer.from(this.prefix + key);
  }

  #read(kv: IKeyValue): [string, StoreEntry] {
    const key = kv.key.toString().slice(this.prefix.length);
    return [key, { value: kv.value.toString(), revision: Number(kv.mod_revision) }];
  }
}
