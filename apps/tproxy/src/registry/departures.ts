import type { InstanceId } from "@dstack/core";
import { MAX_CHANGE_KEYS } from "@dstack/store";
import type { Change, Store } from "@dstack/store";
import { isOldBoot, recycledBoot } from "./boots.js";
import type { Instance } from "./instance.js";
import type { InstanceTable } from "./instance-table.js";
import {
  BOOTS,
  SEEN,
  addressKey,
  bootKey,
  drainKey,
  freedAddress,
  instanceKey,
  ownerKey,
  readInstance,
  seenKey,
} from "./records.js";
import type { InstanceFacts } from "./records.js";

/** How instances go: an operator removes them, or nobody has heard them for long. */
export class Departures {
  readonly #store: Store;
  readonly #table: InstanceTable;
  readonly #now: () => number;

  /** @param now Unix seconds */
  constructor(store: Store, table: InstanceTable, now: () => number) {
    this.#store = store;
    this.#table = table;
    this.#now = now;
  }

  /** See `InstanceRegistry.remove`. */
  async remove(id: InstanceId): Promise<boolean> {
    for (;;) {
      const record = this.#store.get(instanceKey(id));
      const expect = this.#revisions([instanceKey(id), bootKey(id), drainKey(id)]);
      if (Object.values(expect).every((revision) => revision === 0)) return false;
      const set = {
        ...(record === undefined ? {} : this.#withoutHoldings(readInstance(record.value))),
        [bootKey(id)]: undefined,
        [drainKey(id)]: undefined,
      };
      if (await this.#store.commit({ expect, set })) return true;
    }
  }

  /** See `InstanceRegistry.recycle`. */
  async recycle(isGone: (instance: Instance, seenAt: number) => boolean): Promise<Instance[]> {
    const gone: Instance[] = [];
    const silent = this.#table.list().filter((each) => isGone(each, this.#seenAt(each.instanceId)));
    for (const { instanceId } of silent) {
      const recycled = await this.#recycleOne(instanceId, isGone);
      if (recycled !== undefined) gone.push(recycled);
    }
    await this.#sweep();
    return gone;
  }

  /** See `InstanceRegistry.noteSeen`. */
  async noteSeen(heard: ReadonlyMap<string, number>, newerBy: number): Promise<void> {
    const due = this.#table.list().flatMap(({ instanceId, publicKey }): [string, string][] => {
      const at = heard.get(publicKey) ?? 0;
      return at >= this.#seenAt(instanceId) + newerBy ? [[seenKey(instanceId), String(at)]] : [];
    });
    for (let from = 0; from < due.length; from += MAX_CHANGE_KEYS) {
      await this.#store.commit({ set: Object.fromEntries(due.slice(from, from + MAX_CHANGE_KEYS)) });
    }
  }

  async #recycleOne(
    id: InstanceId,
    isGone: (instance: Instance, seenAt: number) => boolean,
  ): Promise<Instance | undefined> {
    const store = this.#store;
    for (;;) {
      const record = store.get(instanceKey(id));
      if (record === undefined) return undefined;
      const draining = store.get(drainKey(id)) !== undefined;
      const instance = { ...readInstance(record.value), draining };
      if (!isGone(instance, this.#seenAt(id))) return undefined;
      const boot = recycledBoot(store.get(bootKey(id))?.value, this.#now());
      const made = await store.commit({
        expect: this.#revisions([instanceKey(id), bootKey(id), seenKey(id)]),
        set: { ...this.#withoutHoldings(instance), [bootKey(id)]: boot },
      });
      if (made) return instance;
    }
  }

  /** What becomes of the records that an instance holds while it is registered. */
  #withoutHoldings({ instanceId, publicKey, ip }: InstanceFacts): Change["set"] {
    return {
      [instanceKey(instanceId)]: undefined,
      [ownerKey(publicKey)]: undefined,
      [addressKey(ip)]: freedAddress(this.#now()),
      [seenKey(instanceId)]: undefined,
    };
  }

  #seenAt(id: InstanceId): number {
    return Number(this.#store.get(seenKey(id))?.value ?? 0);
  }

  #revisions(keys: readonly string[]): Record<string, number> {
    return Object.fromEntries(keys.map((key) => [key, this.#store.get(key)?.revision ?? 0]));
  }

  /** Records beside those of instances that have no use any more. */
  async #sweep(): Promise<void> {
    const store = this.#store;
    const oldBoots = [...store.list(BOOTS)].filter(
      ([key, entry]) => isOldBoot(entry, this.#now()) && !this.#table.has(key.slice(BOOTS.length)),
    );
    // Noted by one node while another one recycled the instance.
    const strays = [...store.list(SEEN)].filter(([key]) => !this.#table.has(key.slice(SEEN.length)));
    for (const [key, { revision }] of [...oldBoots, ...strays]) {
      await store.commit({ expect: { [key]: revision }, set: { [key]: undefined } });
    }
  }
}
