import { CodedError, InputError, Serial } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import { AddressPool } from "./address-pool.js";
import type { Instance } from "./instance.js";
import type { InstanceStore } from "./instance-store.js";

/** Why an instance was not registered. The message is for the caller. */
export class RegistryError extends CodedError<"key_taken" | "other_app" | "no_address"> {
  override name = "RegistryError";

  get rpcCode(): "permission_denied" | "unavailable" {
    return this.code === "no_address" ? "unavailable" : "permission_denied";
  }
}

export interface RegistryOptions {
  readonly store: InstanceStore;
  /** Such as `10.0.3.0/24`. */
  readonly clientRange: string;
  /** Addresses in that range that are not for guests: our own. */
  readonly reserved: readonly string[];
  /** Keys that are not for guests: our own. */
  readonly ownKey: WireGuardPublicKey;
  /** Unix seconds. */
  readonly now: () => number;
}

/** What evidence and request of one registration say. */
export interface Registration {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  readonly publicKey: WireGuardPublicKey;
}

/**
 * Who is registered, with which key and address. Every change is on disk before it is told; an instance keeps its
 * address for as long as it is known.
 */
export class InstanceRegistry {
  readonly #options: RegistryOptions;
  readonly #pool: AddressPool;
  readonly #byId = new Map<InstanceId, Instance>();
  readonly #byKey = new Map<WireGuardPublicKey, Instance>();
  readonly #changes = new Serial();

  private constructor(options: RegistryOptions) {
    this.#options = options;
    this.#pool = new AddressPool(options.clientRange, options.reserved);
  }

  /** @throws {InputError} records that contradict each other or the client range */
  static async open(options: RegistryOptions): Promise<InstanceRegistry> {
    const registry = new InstanceRegistry(options);
    for (const instance of await options.store.load()) registry.#adopt(instance);
    return registry;
  }

  #adopt(instance: Instance): void {
    const what = `instance ${instance.instanceId} in ${this.#options.store.directory}`;
    if (this.#byKey.has(instance.publicKey)) throw new InputError(`${what} has the key of another instance`);
    try {
      this.#pool.claim(instance.ip);
    } catch (err) {
      throw new InputError(`${what}: ${String(err instanceof Error ? err.message : err)}`, { cause: err });
    }
    this.#byId.set(instance.instanceId, instance);
    this.#byKey.set(instance.publicKey, instance);
  }

  /** All instances, in no particular order. */
  list(): Instance[] {
    return [...this.#byId.values()];
  }

  /**
   * Registers an instance, or registers it again with a new key. It keeps the address it has.
   * @throws {RegistryError} the key is another instance's (E12), the instance id is another app's, or no address is free
   */
  async register(registration: Registration): Promise<Instance> {
    return this.#changes.run(async () => {
      const { appId, instanceId, publicKey } = registration;
      const before = this.#byId.get(instanceId);
      if (before !== undefined && before.appId !== appId) {
        throw new RegistryError("other_app", "this instance id is registered for another app");
      }
      const owner = this.#byKey.get(publicKey);
      if (publicKey === this.#options.ownKey || (owner !== undefined && owner.instanceId !== instanceId)) {
        throw new RegistryError("key_taken", "this WireGuard public key belongs to another instance");
      }
      const ip = before?.ip ?? this.#pool.allocate();
      if (ip === undefined) {
        throw new RegistryError("no_address", "no address is free in this tproxy's client range");
      }
      const instance: Instance = { appId, instanceId, publicKey, ip, registeredAt: this.#options.now() };
      try {
        await this.#options.store.put(instance);
      } catch (err) {
        if (before === undefined) this.#pool.release(ip);
        throw err;
      }
      if (before !== undefined) this.#byKey.delete(before.publicKey);
      this.#byId.set(instanceId, instance);
      this.#byKey.set(publicKey, instance);
      return instance;
    });
  }

  /**
   * Forgets instances that were not seen for a while, and frees their addresses.
   * @param isGone decides; asked for the record as it is then
   * @returns those that were forgotten
   */
  async recycle(isGone: (instance: Instance) => boolean): Promise<Instance[]> {
    return this.#changes.run(async () => {
      const gone = this.list().filter(isGone);
      for (const instance of gone) {
        await this.#options.store.delete(instance.instanceId);
        this.#byId.delete(instance.instanceId);
        this.#byKey.delete(instance.publicKey);
        this.#pool.release(instance.ip);
      }
      return gone;
    });
  }
}
