import { InputError, errorMessage, parseAppId, parseInstanceId } from "@dstack/core";
import type { InstanceId } from "@dstack/core";
import { parsePublicKey } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import { z } from "zod";
import type { Instance } from "./instance.js";

/** Keys of the registry's records in the store. */
export const INSTANCES = "instances/";
export const instanceKey = (id: InstanceId): string => INSTANCES + id;
/** Which instance a WireGuard key belongs to: its id. */
export const ownerKey = (publicKey: WireGuardPublicKey): string => `keys/${publicKey}`;
/** Who holds an address, or held it last. */
export const ADDRESSES = "addresses/";
export const addressKey = (ip: string): string => ADDRESSES + ip;
/** The TLS key that an instance registered with; it stays when the instance is recycled. */
export const BOOTS = "boots/";
export const bootKey = (id: InstanceId): string => BOOTS + id;
/** Unix seconds at which some node heard an instance. */
export const SEEN = "seen/";
export const seenKey = (id: InstanceId): string => SEEN + id;
/** Instances that an operator wants to get no new connections: their app ids. It stays when the instance is recycled. */
export const DRAINS = "drains/";
export const drainKey = (id: InstanceId): string => DRAINS + id;

/** What stands in the record of an instance itself. */
export type InstanceFacts = Omit<Instance, "draining">;

const unixSeconds = z.int().min(0);

const port = z.int().min(1).max(65535);

const facts = {
  instance_id: z.string().transform(parseInstanceId),
  app_id: z.string().transform(parseAppId),
  public_key: z.string().transform(parsePublicKey),
  ip: z.union([z.ipv4(), z.ipv6()]),
  registered_at: unixSeconds,
  proxy_protocol_ports: z.array(port).min(1).max(18).optional(),
};

/** A tproxy that knows version 1 alone would dial every port: it shall not read the record of an instance that has closed some. */
const InstanceRecord = z.discriminatedUnion("version", [
  z.strictObject({ version: z.literal(1), ...facts }),
  z.strictObject({ version: z.literal(2), ...facts, public_ports: z.array(port).min(1).max(66) }),
]);

export function writeInstance(instance: InstanceFacts): string {
  const { publicPorts } = instance;
  const record: z.input<typeof InstanceRecord> = {
    ...(publicPorts === undefined ? { version: 1 } : { version: 2, public_ports: [...publicPorts] }),
    instance_id: instance.instanceId,
    app_id: instance.appId,
    public_key: instance.publicKey,
    ip: instance.ip,
    registered_at: instance.registeredAt,
    proxy_protocol_ports: instance.proxyProtocolPorts && [...instance.proxyProtocolPorts],
  };
  return JSON.stringify(record);
}

/** @throws {InputError} not what {@link writeInstance} writes */
export function readInstance(text: string): InstanceFacts {
  const record = read(InstanceRecord, text, "an instance");
  return {
    instanceId: record.instance_id,
    appId: record.app_id,
    publicKey: record.public_key,
    ip: record.ip,
    registeredAt: record.registered_at,
    ...(record.proxy_protocol_ports === undefined ? {} : { proxyProtocolPorts: record.proxy_protocol_ports }),
    ...(record.version === 1 ? {} : { publicPorts: record.public_ports }),
  };
}

/** Held by an instance, or free since a time in Unix seconds. */
const AddressRecord = z.union([
  z.strictObject({ instance: z.string() }),
  z.strictObject({ freed_at: unixSeconds }),
]);
type AddressRecord = z.infer<typeof AddressRecord>;

export function heldAddress(instance: InstanceId): string {
  return JSON.stringify({ instance } satisfies AddressRecord);
}

/** @param at Unix seconds */
export function freedAddress(at: number): string {
  return JSON.stringify({ freed_at: at } satisfies AddressRecord);
}

/** @throws {InputError} */
export function readAddress(text: string): AddressRecord {
  return read(AddressRecord, text, "an address");
}

const BootRecord = z.strictObject({
  app_id: z.string().transform(parseAppId),
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  spki_sha256: z.string().regex(/^[0-9a-f]{64}$/),
  at: unixSeconds,
});
export type BootRecord = z.infer<typeof BootRecord>;

/** @throws {InputError} */
export function readBoot(text: string): BootRecord {
  return read(BootRecord, text, "a boot");
}

function read<T>(schema: z.ZodType<T>, text: string, what: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (err) {
    throw new InputError(
      `not the record of ${what}, or one that another version of tproxy wrote: ${errorMessage(err)}. Start that version, or ` +
        "put the store aside: guests are known again once they boot anew",
      { cause: err },
    );
  }
}
