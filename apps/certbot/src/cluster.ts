import { type Cluster, ClusterError, type Log, type SharedAccount, recordName } from "@dstack/acme";
import { errorMessage, sleep } from "@dstack/core";
import { type Change, NodeName, type Store, StoreError, leaderOf, whileLeading } from "@dstack/store";
import { z } from "zod";

/** Between attempts to be next, up to twice as long: those who wait do not all ask at once. */
const ATTEMPT_MS = 750;
/** How often what we know of records may turn out old before we take it for trouble: nobody writes them so often. */
const MAX_CATCH_UPS = 10;

const ACCOUNT = "account/";
const MAX_RECORD_LENGTH = 16_384;
/** Of a domain: those of CAs that are no longer used stand there, too, until there are too many. */
const MAX_ACCOUNTS = 16;
const url = z.string().regex(/^https?:\/\/[!-~]{1,500}$/);

/** The value of a record `account/<domain>`. */
const AccountRecord = z.strictObject({
  accounts: z.array(z.strictObject({ directory: url, uri: url, node: NodeName })).max(MAX_ACCOUNTS),
});

/**
 * {@link Cluster} in a {@link Store}: a leader for each domain of the certificate, had together, and a record for each
 * that says which accounts order. No key is in it, of certificates or accounts.
 */
export class StoreCluster implements Cluster {
  readonly #domains: readonly string[];
  readonly #jobs: readonly string[];

  /**
   * @param names of the certificate
   * @param options.waitMs how long another node may be at work @param options.prefix where records are in etcd, for sentences
   */
  constructor(
    private readonly store: Store,
    names: readonly string[],
    private readonly options: { waitMs: number; prefix: string; log: Log },
  ) {
    this.#domains = [...new Set(names.map(recordName))].toSorted();
    this.#jobs = this.#domains.map((domain) => `certificate/${domain}`);
  }

  get node(): string {
    return this.store.node;
  }

  get leader(): string | undefined {
    return leaderOf(this.store, this.#jobs);
  }

  get trouble(): string | undefined {
    return this.store.trouble;
  }

  async lead<T>(work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    const { waitMs, log } = this.options;
    const domains = this.#domains.join(", ");
    const began = performance.now();
    for (let told: string | undefined; ;) {
      const result = await this.#leadNow(work, signal);
      if (result !== undefined) return result.value;
      const leader = this.leader ?? told ?? "another node";
      if (leader !== told) {
        const who = leader === this.node ? `${leader}, an earlier or another certbot of this node,` : leader;
        log.info({ leader, domains }, `${who} is at work on ${domains}; waiting for it`);
      }
      told = leader;
      if (performance.now() - began > waitMs) {
        throw new ClusterError("busy", `${leader} has been at work on ${domains} for ${waitMs / 1000} s`);
      }
      await sleep(ATTEMPT_MS * (1 + Math.random()), signal);
    }
  }

  accounts(): SharedAccount[] {
    return this.#domains.flatMap((domain) => this.#accountsOf(domain));
  }

  async publish(accounts: readonly Pick<SharedAccount, "directory" | "uri">[]): Promise<void> {
    for (const domain of this.#domains) {
      const known = this.#accountsOf(domain);
      const added = accounts.filter(({ uri }) => !known.some((account) => account.uri === uri));
      if (added.length === 0) continue;
      const record = recordOf([...known, ...added.map((account) => ({ ...account, node: this.node }))]);
      await this.#commit({ ...this.#asKnown([domain]), set: { [ACCOUNT + domain]: record } });
    }
  }

  /** @returns undefined where another node is at work */
  async #leadNow<T>(
    work: (signal: AbortSignal) => Promise<T>,
    signal: AbortSignal,
  ): Promise<{ value: T } | undefined> {
    let leading: AbortSignal | undefined;
    try {
      return await whileLeading(
        this.store,
        this.#jobs,
        async (until) => {
          leading = until;
          await this.#catchUp();
          return { value: await work(until) };
        },
        signal,
      );
    } catch (err) {
      signal.throwIfAborted();
      const [why, options] = [errorMessage(err), { cause: err }];
      if (leading?.aborted === true) {
        const lost = `this node could not hold its place: ${errorMessage(leading.reason)}; what it began is taken up later`;
        throw new ClusterError("lost", lost, {}, options);
      }
      if (err instanceof StoreError) throw new ClusterError("unavailable", why, {}, options);
      throw err;
    }
  }

  /** The watch may be behind what the last leader wrote: a change with the revisions that we know of is not. */
  async #catchUp(): Promise<void> {
    for (let tries = 0; tries < MAX_CATCH_UPS; tries++) {
      if (await this.store.commit({ ...this.#asKnown(this.#domains), set: {} })) return;
    }
    throw new StoreError("unavailable", "records of accounts in etcd change all the time");
  }

  #asKnown(domains: readonly string[]): Pick<Change, "expect"> {
    const keys = domains.map((domain) => ACCOUNT + domain);
    return { expect: Object.fromEntries(keys.map((key) => [key, this.store.get(key)?.revision ?? 0])) };
  }

  async #commit(change: Change): Promise<void> {
    if (await this.store.commit(change)) return;
    throw new StoreError("unavailable", "somebody changed records of accounts in etcd while this node led");
  }

  #accountsOf(domain: string): SharedAccount[] {
    const value = this.store.get(ACCOUNT + domain)?.value;
    if (value === undefined) return [];
    try {
      if (value.length > MAX_RECORD_LENGTH) throw new Error("it is too long");
      return AccountRecord.parse(JSON.parse(value)).accounts;
    } catch (err) {
      const key = `${this.options.prefix}${ACCOUNT}${domain}`;
      throw new ClusterError(
        "another_account",
        `what etcd has under ${key} is nothing that certbot wrote. Remove it: etcdctl del ${key}`,
        {},
        { cause: err },
      );
    }
  }
}

/** Without the oldest, where a record of all would be one that nobody reads. */
function recordOf(accounts: z.infer<typeof AccountRecord>["accounts"]): string {
  for (let from = Math.max(0, accounts.length - MAX_ACCOUNTS); ; from++) {
    const record = JSON.stringify({ accounts: accounts.slice(from) } satisfies z.infer<typeof AccountRecord>);
    if (record.length <= MAX_RECORD_LENGTH) return record;
  }
}
