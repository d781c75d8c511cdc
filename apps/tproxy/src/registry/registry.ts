import { CodedError, InputError, errorMessage } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import { MAX_CHANGE_KEYS } from "../store/store.js";
import type { Store, StoreEntry } from "../store/store.js";
import type { AddressBlock } from "./address-block.js";
import type { Instance } from "./instance.js";
import {
  BOOTS,
  INSTANCES,
  SEEN,
  addressKey,
  bootKey,
  instanceKey,
  ownerKey,
  readAddress,
  readBoot,
  readInstance,
  seenKey,
  writeInstance,
} from "./records.js";
import type { AddressRecord, BootRecord } from "./records.js";

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

/** What evidence and request of one registration say. */
export interface Registration {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  readonly publicKey: WireGuardPublicKey;
  /** SHA-256 of the SubjectPublicKeyInfo of the caller's RA-TLS certificate, hex. */
  readonly bootKey: string;
  /** Only where this is the TLS key that the instance registered with before (E14). */
  readonly again: boolean;
  /** On which it wants to be told by the PROXY protocol who its client is. */
  readonly proxyProtocolPorts?: readonly number[];
}

/**
 * Connections to an address may be open for as long as they are idle at most after its instance was given up; nobody
 * else gets it before.
 */
export const QUARANTINE_S = 600;
/** The TLS key of an instance that was recycled is remembered for so long: a VM may have been paused. */
const REMEMBER_BOOT_S = 30 * 86_400;
/** For who registers again and may not (E14). */
export const NOT_THE_BOOT_KEY =
  "the event log contains system-ready, and this TLS key is not the one that the VM registered with before it opened " +
  "its sockets";
/** Another node, or another call, may take an address or a key from under us; each time there is one less. */
const MAX_ATTEMPTS = 8;

/**
 * Who is registered, with which key and address, on all nodes. Every change is one transaction of the store: a key has
 * one owner (E12) and an address one holder, whichever nodes are asked at the same time.
 */
export class InstanceRegistry {
  readonly #options: RegistryOptions;
  readonly #byId = new Map<string, Instance>();
  /** Addresses that calls of this moment want to take. */
  readonly #picking = new Set<string>();
  readonly #listeners: (() => void)[] = [];

  /** @throws {InputError} a record of the store that cannot be read, named: its instance holds an address */
  constructor(options: RegistryOptions) {
    this.#options = options;
    const { store } = options;
    for (const [key, { value }] of store.list(INSTANCES)) {
      try {
        this.#put(key, readInstance(value));
      } catch (err) {
        throw new InputError(`record ${key} of the store: ${errorMessage(err)}`, { cause: err });
      }
    }
    store.onChange((keys) => this.#follow(keys));
  }

  /** All instances, in no particular order. */
  list(): Instance[] {
    return [...this.#byId.values()];
  }

  get(id: InstanceId): Instance | undefined {
    return this.#byId.get(instanceKey(id));
  }

  /** Calls back after instances have come, changed or gone, by whichever node. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
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
    const { appId, instanceId, publicKey, proxyProtocolPorts = [] } = registration;
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
    const instance: Instance = {
      appId,
      instanceId,
      publicKey,
      ip,
      registeredAt: now(),
      draining: before?.draining ?? false,
      ...(proxyProtocolPorts.length === 0 ? {} : { proxyProtocolPorts }),
    };
    const boot: BootRecord = { app_id: appId, spki_sha256: registration.bootKey, at: now() };
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
          ...(before === undefined ? {} : { [addressKey(before.ip)]: freed(now()) }),
          [instanceKey(instanceId)]: writeInstance(instance),
          [ownerKey(publicKey)]: instanceId,
          [addressKey(ip)]: held(instanceId),
          [bootKey(instanceId)]: JSON.stringify(boot),
        },
      });
      return made ? instance : undefined;
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
   * Lets an instance have no new connections, or lets it have them again.
   * @returns the instance as it is now, or undefined where there is none of that id
   * @throws {StoreError}
   */
  async setDraining(id: InstanceId, draining: boolean): Promise<Instance | undefined> {
    const { store } = this.#options;
    for (;;) {
      const record = store.get(instanceKey(id));
      if (record === undefined) return undefined;
      const instance = { ...readInstance(record.value), draining };
      const expect = { [instanceKey(id)]: record.revision };
      if (await store.commit({ expect, set: { [instanceKey(id)]: writeInstance(instance) } }))
        return instance;
    }
  }

  /**
   * Takes an instance's registration, and with it its tunnel; of one that was recycled, what is left of it. It comes back
   * with its next boot, not before.
   * @returns whether there was anything of that id
   * @throws {StoreError}
   */
  async remove(id: InstanceId): Promise<boolean> {
    const { store } = this.#options;
    const key = bootKey(id);
    for (;;) {
      if ((await this.#forget(id, () => undefined)) !== undefined) return true;
      const boot = store.get(key);
      if (boot === undefined) return false;
      const expect = { [instanceKey(id)]: 0, [key]: boot.revision };
      if (await store.commit({ expect, set: { [key]: undefined } })) return true;
    }
  }

  /**
   * Forgets instances that were not seen for a while, and frees their addresses.
   * @param isGone decides, by the record and when some node heard the instance last (Unix seconds, 0 for never)
   * @returns those that were forgotten
   * @throws {StoreError}
   */
  async recycle(isGone: (instance: Instance, seenAt: number) => boolean): Promise<Instance[]> {
    const { now } = this.#options;
    const gone: Instance[] = [];
    for (const { instanceId } of this.list().filter((each) => isGone(each, this.#seenAt(each.instanceId)))) {
      const forgotten = await this.#forget(instanceId, (boot) => recycledBoot(boot, now()), isGone);
      if (forgotten !== undefined) gone.push(forgotten);
    }
    await this.#sweep();
    return gone;
  }

  /**
   * Notes when instances were heard, for all nodes and for later starts.
   * @param heard Unix seconds by public key
   * @param newerBy seconds by which a time must be newer than the one that is noted to be worth a write
   * @throws {StoreError}
   */
  async noteSeen(heard: ReadonlyMap<string, number>, newerBy: number): Promise<void> {
    const due = this.list().flatMap(({ instanceId, publicKey }): [string, string][] => {
      const at = heard.get(publicKey) ?? 0;
      return at >= this.#seenAt(instanceId) + newerBy ? [[seenKey(instanceId), String(at)]] : [];
    });
    for (let from = 0; from < due.length; from += MAX_CHANGE_KEYS) {
      await this.#options.store.commit({ set: Object.fromEntries(due.slice(from, from + MAX_CHANGE_KEYS)) });
    }
  }

  #seenAt(id: InstanceId): number {
    return Number(this.#options.store.get(seenKey(id))?.value ?? 0);
  }

  /** @param boot what becomes of the record of its TLS key */
  async #forget(
    id: InstanceId,
    boot: (before: string | undefined) => string | undefined,
    isGone?: (instance: Instance, seenAt: number) => boolean,
  ): Promise<Instance | undefined> {
    const { store, now } = this.#options;
    for (;;) {
      const record = store.get(instanceKey(id));
      if (record === undefined) return undefined;
      const instance = readInstance(record.value);
      if (isGone?.(instance, this.#seenAt(id)) === false) return undefined;
      const before = store.get(bootKey(id));
      const made = await store.commit({
        expect: {
          [instanceKey(id)]: record.revision,
          [bootKey(id)]: before?.revision ?? 0,
          [seenKey(id)]: store.get(seenKey(id))?.revision ?? 0,
        },
        set: {
          [instanceKey(id)]: undefined,
          [ownerKey(instance.publicKey)]: undefined,
          [addressKey(instance.ip)]: freed(now()),
          [seenKey(id)]: undefined,
          [bootKey(id)]: boot(before?.value),
        },
      });
      if (made) return instance;
    }
  }

  /** Records beside those of instances that have no use any more. */
  async #sweep(): Promise<void> {
    const { store, now } = this.#options;
    const isKnown = (id: string): boolean => this.#byId.has(INSTANCES + id);
    const oldBoots = [...store.list(BOOTS)].filter(
      ([key, { value }]) => now() - readBoot(value).at > REMEMBER_BOOT_S && !isKnown(key.slice(BOOTS.length)),
    );
    // Noted by one node while another one recycled the instance.
    const strays = [...store.list(SEEN)].filter(([key]) => !isKnown(key.slice(SEEN.length)));
    for (const [key, { revision }] of [...oldBoots, ...strays]) {
      await store.commit({ expect: { [key]: revision }, set: { [key]: undefined } });
    }
  }

  #follow(keys: ReadonlySet<string>): void {
    const { store, log } = this.#options;
    const changed = [...keys].filter((key) => key.startsWith(INSTANCES));
    for (const key of changed) {
      const record = store.get(key);
      try {
        this.#put(key, record === undefined ? undefined : readInstance(record.value));
      } catch (err) {
        // Some other program's, or a newer version's: what we knew of it stays.
        log.error({ err, key }, "a record of the store cannot be read");
      }
    }
    if (changed.length > 0) for (const listener of this.#listeners) listener();
  }

  #put(key: string, instance: Instance | undefined): void {
    if (instance === undefined) this.#byId.delete(key);
    else this.#byId.set(key, instance);
  }
}

function isBootKeyOf(
  record: StoreEntry | undefined,
  registration: Pick<Registration, "appId" | "bootKey">,
): boolean {
  if (record === undefined) return false;
  const boot = readBoot(record.value);
  return boot.app_id === registration.appId && boot.spki_sha256 === registration.bootKey;
}

/** Its time runs from when the instance was last known: that may be long after its boot. */
function recycledBoot(before: string | undefined, at: number): string | undefined {
  return before === undefined ? undefined : JSON.stringify({ ...readBoot(before), at } satisfies BootRecord);
}

function held(instance: InstanceId): string {
  return JSON.stringify({ instance } satisfies AddressRecord);
}

function freed(at: number): string {
  return JSON.stringify({ freed_at: at } satisfies AddressRecord);
}
