import { CodedError } from "@dstack/core";
import type { InstanceId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { Store } from "@dstack/store";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import type { AddressBlock } from "./address-block.js";
import { NOT_THE_BOOT_KEY, isBootKeyOf, newBoot } from "./boots.js";
import { Departures } from "./departures.js";
import type { Instance } from "./instance.js";
import { InstanceTable } from "./instance-table.js";
import type { DrainedInstance } from "./instance-table.js";
import {
  addressKey,
  bootKey,
  drainKey,
  freedAddress,
  heldAddress,
  instanceKey,
  ownerKey,
  readAddress,
  readBoot,
  readInstance,
  writeInstance,
} from "./records.js";
import type { InstanceFacts } from "./records.js";
import type { Registration } from "./registration.js";

/** Why an instance was not registered. The message is for the caller. */
export class RegistryError extends CodedError<
  "key_taken" | "other_app" | "other_boot" | "no_address" | "busy"
> {
  override name = "RegistryError";

  get rpcCode(): "permission_denied" | "unavailable" {
    return this.code === "no_address" || this.code === "busy" ? "unavailable" : "permission_denied";
  }
}

export interface RegistryOptions {
  readonly store: Store;
  /** The addresses this node gives out. */
  readonly block: AddressBlock;
  /** Whether an address is in the block of some node: an instance keeps it over registrations then. */
  readonly isInABlock: (ip: string) => boolean;
  /** Whether a key is a node's own. */
  readonly isNodeKey: (publicKey: WireGuardPublicKey) => boolean;
  /** Unix seconds. */
  readonly now: () => number;
  readonly log: Logger;
}

/**
 * For so long nobody else gets an address that was given up. Every node resets the connections to it when it hears of that,
 * and before its tunnel leads there to somebody else; what may still be sent is what the kernel has of a tproxy that was
 * killed, for some two minutes (tcp_orphan_retries). The rest is for clocks of nodes that differ.
 */
export const QUARANTINE_S = 600;
/** Another node, or another call, may take an address or a key from under us; each time there is one less. */
const MAX_ATTEMPTS = 8;

/**
 * Who is registered, with which key and address, on all nodes. Every change is one transaction of the store: a key has
 * one owner (E12) and an address one holder, whichever nodes are asked at the same time.
 */
export class InstanceRegistry {
  readonly #options: RegistryOptions;
  readonly #table: InstanceTable;
  readonly #departures: Departures;
  /** Addresses that calls of this moment want to take. */
  readonly #picking = new Set<string>();

  /** @throws {InputError} a record of the store that cannot be read, named: its instance holds an address */
  constructor(options: RegistryOptions) {
    const { store, now, log } = options;
    this.#options = options;
    this.#table = new InstanceTable(store, log);
    this.#departures = new Departures(store, this.#table, now);
  }

  /** All instances, in no particular order. */
  list(): Instance[] {
    return this.#table.list();
  }

  /** Instances that an operator has drained and that are not registered now. */
  listDrainedAndGone(): DrainedInstance[] {
    return this.#table.listDrainedAndGone();
  }

  get(id: InstanceId): Instance | undefined {
    return this.#table.get(id);
  }

  /** Calls back after instances have come, changed or gone, by whichever node. */
  onChange(listener: () => void): void {
    this.#table.onChange(listener);
  }

  /** Whether the instance's last registration was made with this TLS key, also where it was recycled since. */
  isBootKey(registration: Omit<Registration, "publicKey">): boolean {
    return isBootKeyOf(this.#options.store.get(bootKey(registration.instanceId)), registration);
  }

  /**
   * Registers an instance, or registers it again with a new key. It keeps the address it has.
   * @throws {RegistryError} the key is another instance's (E12), the instance id is another app's, it registers again
   * with another TLS key than that of its boot (E14), or no address is free
   * @throws {StoreError} the store cannot be reached
   */
  async register(registration: Registration): Promise<Instance> {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const instance = await this.#tryRegister(registration);
      if (instance !== undefined) return instance;
    }
    throw new RegistryError("busy", "others register at the same time; try again");
  }

  async #tryRegister(registration: Registration): Promise<Instance | undefined> {
    const { store, now, isNodeKey, isInABlock } = this.#options;
    const { appId, instanceId, publicKey, proxyProtocolPorts = [], publicPorts = [] } = registration;
    const [own, owner] = [store.get(instanceKey(instanceId)), store.get(ownerKey(publicKey))];
    const lastBoot = store.get(bootKey(instanceId));
    const before = own === undefined ? undefined : readInstance(own.value);
    if (before !== undefined && before.appId !== appId) {
      throw new RegistryError("other_app", "this instance id is registered for another app");
    }
    // Whoever looked before may have looked too early: it may have been removed, or have booted, since.
    if (registration.again && !isBootKeyOf(lastBoot, registration)) {
      throw new RegistryError("other_boot", NOT_THE_BOOT_KEY);
    }
    if (isNodeKey(publicKey) || (owner !== undefined && owner.value !== instanceId)) {
      throw new RegistryError("key_taken", "this WireGuard public key belongs to another instance");
    }
    const kept = before !== undefined && isInABlock(before.ip) ? before.ip : undefined;
    const ip = kept ?? this.#pick();
    const instance: InstanceFacts = {
      appId,
      instanceId,
      publicKey,
      ip,
      registeredAt: now(),
      ...(proxyProtocolPorts.length === 0 ? {} : { proxyProtocolPorts }),
      ...(publicPorts.length === 0 ? {} : { publicPorts }),
    };
    try {
      const made = await store.commit({
        expect: {
          [instanceKey(instanceId)]: own?.revision ?? 0,
          [ownerKey(publicKey)]: owner?.revision ?? 0,
          [bootKey(instanceId)]: lastBoot?.revision ?? 0,
          [addressKey(ip)]: store.get(addressKey(ip))?.revision ?? 0,
        },
        set: {
          ...(before === undefined ? {} : { [ownerKey(before.publicKey)]: undefined }),
          ...(before === undefined ? {} : { [addressKey(before.ip)]: freedAddress(now()) }),
          [instanceKey(instanceId)]: writeInstance(instance),
          [ownerKey(publicKey)]: instanceId,
          [addressKey(ip)]: heldAddress(instanceId),
          [bootKey(instanceId)]: newBoot(registration, now()),
        },
      });
      return made ? { ...instance, draining: store.get(drainKey(instanceId)) !== undefined } : undefined;
    } finally {
      this.#picking.delete(ip);
    }
  }

  #pick(): string {
    const { store, block, now } = this.#options;
    const ip = block.pick((address) => {
      if (this.#picking.has(address)) return false;
      const record = store.get(addressKey(address));
      if (record === undefined) return true;
      const state = readAddress(record.value);
      return "freed_at" in state && now() - state.freed_at >= QUARANTINE_S;
    });
    if (ip === undefined) {
      throw new RegistryError("no_address", "no address is free in this tproxy's client range");
    }
    this.#picking.add(ip);
    return ip;
  }

  /**
   * Lets an instance have no new connections, or lets it have them again. It stays drained over registrations, also where
   * it is recycled before it registers again, until it is resumed or removed.
   * @returns whether there is an instance of that id, registered or recycled
   * @throws {StoreError}
   */
  async setDraining(id: InstanceId, draining: boolean): Promise<boolean> {
    const { store } = this.#options;
    for (;;) {
      const [record, boot, drain] = [instanceKey(id), bootKey(id), drainKey(id)].map((key) => store.get(key));
      const appId =
        record === undefined ? boot && readBoot(boot.value).app_id : readInstance(record.value).appId;
      if (appId === undefined && drain === undefined) return false;
      if ((drain !== undefined) === draining) return true;
      // A drain of an instance that is removed meanwhile would outlive it.
      const expect = {
        [instanceKey(id)]: record?.revision ?? 0,
        [bootKey(id)]: boot?.revision ?? 0,
        [drainKey(id)]: drain?.revision ?? 0,
      };
      if (await store.commit({ expect, set: { [drainKey(id)]: draining ? appId : undefined } })) return true;
    }
  }

  /**
   * Takes an instance's registration, and with it its tunnel and its drain; of one that was recycled, what is left of it.
   * It comes back with its next boot, not before.
   * @returns whether there was anything of that id
   * @throws {StoreError}
   */
  remove(id: InstanceId): Promise<boolean> {
    return this.#departures.remove(id);
  }

  /**
   * Forgets instances that were not seen for a while, and frees their addresses.
   * @param isGone decides, by the record and when some node heard the instance last (Unix seconds, 0 for never)
   * @returns those that were forgotten
   * @throws {StoreError}
   */
  recycle(isGone: (instance: Instance, seenAt: number) => boolean): Promise<Instance[]> {
    return this.#departures.recycle(isGone);
  }

  /**
   * Notes when instances were heard, for all nodes and for later starts.
   * @param heard Unix seconds by public key
   * @param newerBy seconds by which a time must be newer than the one that is noted to be worth a write
   * @throws {StoreError}
   */
  noteSeen(heard: ReadonlyMap<string, number>, newerBy: number): Promise<void> {
    return this.#departures.noteSeen(heard, newerBy);
  }
}
