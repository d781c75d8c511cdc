import {
  InputError,
  concatBytes,
  fromHex,
  hex,
  parseAppId,
  parseInstanceId,
  sha256,
  utf8,
} from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { z } from "zod";
import type { AppCompose } from "./app-compose.js";
import { parseJson } from "./share.js";

const SALT_BYTES = 20;

const InstanceInfoSchema = z.object({
  bootstrapped: z.boolean().default(false),
  instance_id: z.string().default(""),
  instance_salt: z.string().default(""),
  app_id: z.string().default(""),
});

/** `.instance_info`: what an earlier boot of this instance told the host. A hint, like everything from the host. */
export interface InstanceInfo {
  /** The data disk has been formatted. */
  readonly bootstrapped: boolean;
  readonly instanceId: InstanceId | undefined;
  /** 20 bytes: what `instanceId` was made of, together with `appId`. */
  readonly instanceSalt: Uint8Array | undefined;
  readonly appId: AppId | undefined;
}

/**
 * @throws {InputError} not JSON, ids that are none, or an instance id that was not made for the app: the host could
 * else give a VM the id of another app's instance, or of another app, and with it that name at tproxy
 */
export function parseInstanceInfo(bytes: Uint8Array | undefined): InstanceInfo {
  const info =
    bytes === undefined
      ? InstanceInfoSchema.parse({})
      : parseJson(".instance_info", bytes, InstanceInfoSchema);
  const appId = info.app_id === "" ? undefined : parseAppId(info.app_id);
  if (info.instance_id === "") {
    if (info.bootstrapped) {
      throw new InputError(".instance_info: an instance that is bootstrapped must have an instance_id");
    }
    return { bootstrapped: false, instanceId: undefined, instanceSalt: undefined, appId };
  }
  const instanceId = parseInstanceId(info.instance_id);
  const instanceSalt = fromHex(info.instance_salt, ".instance_info: instance_salt", SALT_BYTES);
  if (appId === undefined || newInstanceId(instanceSalt, appId) !== instanceId) {
    throw new InputError(".instance_info: instance_id was not made from instance_salt for app_id");
  }
  return { bootstrapped: info.bootstrapped, instanceId, instanceSalt, appId };
}

/** The text of `.instance_info`. */
export function instanceInfoText(identity: Identity, bootstrapped: boolean): string {
  const { instanceId, instanceSalt, appId } = identity;
  const info = { bootstrapped, instance_id: instanceId, instance_salt: hex(instanceSalt), app_id: appId };
  return `${JSON.stringify(info)}\n`;
}

/** What this boot measures about itself. */
export interface Identity {
  /** 32 bytes: the verity root that the measured command line names. */
  readonly rootfsHash: Uint8Array;
  /** The app of the first deployment. */
  readonly appId: AppId;
  readonly composeHash: Uint8Array;
  /** The app id the present compose document alone would give. */
  readonly upgradedAppId: AppId;
  /** SHA-256 of the DER of the KMS root CA. */
  readonly caCertHash: Uint8Array;
  readonly instanceId: InstanceId;
  /** 20 bytes, not measured: it shows later boots that the instance id is of this app. */
  readonly instanceSalt: Uint8Array;
}

/**
 * Who we are. An instance keeps its app id and instance id over upgrades; whether this compose document may act as that
 * app is the KMS's decision, which sees both ids measured.
 * @param salt 20 random bytes, for the id of a new instance
 */
export function decideIdentity(parts: {
  compose: AppCompose;
  info: InstanceInfo;
  rootfsHash: Uint8Array;
  caCertDer: Uint8Array;
  salt: Uint8Array;
}): Identity {
  const appId = parts.info.appId ?? parts.compose.ownAppId;
  const instanceSalt = parts.info.instanceSalt ?? parts.salt;
  return {
    rootfsHash: parts.rootfsHash,
    appId,
    composeHash: parts.compose.hash,
    upgradedAppId: parts.compose.ownAppId,
    caCertHash: sha256(parts.caCertDer),
    instanceId: newInstanceId(instanceSalt, appId),
    instanceSalt,
  };
}

/** The first 20 bytes of SHA-256(20 random bytes ‖ app id). */
export function newInstanceId(salt: Uint8Array, appId: AppId): InstanceId {
  if (salt.length !== SALT_BYTES) throw new InputError("the salt of an instance id must have 20 bytes");
  return parseInstanceId(hex(sha256(concatBytes(salt, fromHex(appId, "app id", 20))).subarray(0, 20)));
}

/** Name and payload of an event in RTMR3. */
export interface BootEvent {
  readonly name: string;
  readonly payload: Uint8Array;
}

const NOTHING = new Uint8Array(0);

/** Measured before anything is read, so that a log shows where the guest's own part begins. */
export const SYSTEM_PREPARING: BootEvent = { name: "system-preparing", payload: NOTHING };
/** After it no key is released to this log (E5). */
export const SYSTEM_READY: BootEvent = { name: "system-ready", payload: NOTHING };

/** The identity, in the order every verifier expects. Keys may be asked for after the last one. */
export function identityEvents(identity: Identity): BootEvent[] {
  return [
    { name: "rootfs-hash", payload: identity.rootfsHash },
    { name: "app-id", payload: fromHex(identity.appId, "app id", 20) },
    { name: "compose-hash", payload: identity.composeHash },
    { name: "upgraded-app-id", payload: fromHex(identity.upgradedAppId, "app id", 20) },
    { name: "ca-cert-hash", payload: identity.caCertHash },
    { name: "instance-id", payload: fromHex(identity.instanceId, "instance id", 20) },
    { name: "boot-mr-done", payload: NOTHING },
  ];
}

/** Who released the keys. @param rootSpki DER SubjectPublicKeyInfo of the KMS root */
export function keyProviderEvent(rootSpki: Uint8Array): BootEvent {
  return { name: "key-provider", payload: utf8(JSON.stringify({ name: "kms", id: hex(rootSpki) })) };
}

/**
 * The verity root hash on the kernel's command line, 32 bytes.
 * @throws {InputError} missing, given twice, or not a hash
 */
export function rootfsHashOf(commandLine: string): Uint8Array {
  const found = commandLine
    .split(/\s+/)
    .filter((word) => word.startsWith("dstack.rootfs_hash="))
    .map((word) => word.slice("dstack.rootfs_hash=".length));
  const [only] = found;
  if (only === undefined || found.length !== 1) {
    throw new InputError(
      `the kernel command line must name dstack.rootfs_hash once, it does ${found.length} times`,
    );
  }
  return fromHex(only, "dstack.rootfs_hash", 32);
}
