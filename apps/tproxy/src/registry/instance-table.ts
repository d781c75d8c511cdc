import { InputError, errorMessage, parseAppId, parseInstanceId } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { Store } from "@dstack/store";
import type { Instance } from "./instance.js";
import { DRAINS, INSTANCES, drainKey, instanceKey, readInstance } from "./records.js";

/** An instance that an operator has drained and that is not registered now. */
export interface DrainedInstance {
  readonly instanceId: InstanceId;
  readonly appId: AppId;
}

/** The instances that the store has, read once each time one of them changes. */
export class InstanceTable {
  readonly #store: Store;
  readonly #log: Logger;
  readonly #byId = new Map<string, Instance>();
  readonly #listeners: (() => void)[] = [];

  /** @throws {InputError} a record of the store that cannot be read, named: its instance holds an address */
  constructor(store: Store, log: Logger) {
    this.#store = store;
    this.#log = log;
    for (const [key] of store.list(INSTANCES)) {
      try {
        this.#read(key.slice(INSTANCES.length));
      } catch (err) {
        throw new InputError(`record ${key} of the store: ${errorMessage(err)}`, { cause: err });
      }
    }
    store.onChange((keys) => this.#follow(keys));
  }

  /** In no particular order. */
  list(): Instance[] {
    return [...this.#byId.values()];
  }

  get(id: InstanceId): Instance | undefined {
    return this.#byId.get(id);
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** Those that are drained and not in the table. */
  listDrainedAndGone(): DrainedInstance[] {
    return [...this.#store.list(DRAINS)].flatMap(([key, { value }]) => {
      const id = key.slice(DRAINS.length);
      return this.has(id) ? [] : [{ instanceId: parseInstanceId(id), appId: parseAppId(value) }];
    });
  }

  /** Calls back after instances have come, changed or gone, by whichever node. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #follow(keys: ReadonlySet<string>): void {
    const changed = new Set(
      [...keys].flatMap((key) => {
        const prefix = [INSTANCES, DRAINS].find((each) => key.startsWith(each));
        return prefix === undefined ? [] : [key.slice(prefix.length)];
      }),
    );
    for (const id of changed) {
      try {
        this.#read(id);
      } catch (err) {
        // Some other program's, or a newer version's: what we knew of it stays.
        this.#log.error({ err, id }, "the store's record of an instance cannot be read");
      }
    }
    if (changed.size > 0) for (const listener of this.#listeners) listener();
  }

  #read(id: string): void {
    const record = this.#store.get(instanceKey(id as InstanceId));
    if (record === undefined) this.#byId.delete(id);
    else {
      const draining = this.#store.get(drainKey(id as InstanceId)) !== undefined;
      this.#byId.set(id, { ...readInstance(record.value), draining });
    }
  }
}
