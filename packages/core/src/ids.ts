import { sha256, hex } from "./bytes.js";
import { InputError } from "./errors.js";

/** 40 lower-case hex digits: the first 20 bytes of the SHA-256 of the app's first compose document. */
export type AppId = string & { readonly __brand: "AppId" };
/** 40 lower-case hex digits: one instance (one data disk) of an app. */
export type InstanceId = string & { readonly __brand: "InstanceId" };
/** A UUID (RFC 9562) in lower case: one VM of one teepod. */
export type VmId = string & { readonly __brand: "VmId" };

const ID_40 = /^[0-9a-f]{40}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** @throws {InputError} unless the text is 40 lower-case hex digits */
export function parseAppId(text: string): AppId {
  if (!ID_40.test(text)) throw new InputError("app id must be 40 lower-case hex digits");
  return text as AppId;
}

/** @throws {InputError} unless the text is 40 lower-case hex digits */
export function parseInstanceId(text: string): InstanceId {
  if (!ID_40.test(text)) throw new InputError("instance id must be 40 lower-case hex digits");
  return text as InstanceId;
}

/** @throws {InputError} unless the text is a lower-case UUID */
export function parseVmId(text: string): VmId {
  if (!UUID.test(text)) throw new InputError("VM id must be a UUID in lower case");
  return text as VmId;
}

/** The app id of an app-compose document: the first 20 bytes of the SHA-256 of its exact bytes. */
export function appIdOfCompose(composeFile: Uint8Array): AppId {
  return hex(sha256(composeFile).subarray(0, 20)) as AppId;
}
