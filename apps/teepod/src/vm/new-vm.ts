import { InputError, appIdOfCompose, parseAppId, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { parseAppCompose } from "./app-compose.js";
import { requireDiskSize, requireMemory, requireVcpu } from "./limits.js";
import type { VmLimits } from "./limits.js";
import { parsePorts } from "./ports.js";
import type { PortMapping, PortPolicy } from "./ports.js";

/** Ephemeral key (32), IV (12) and authentication tag (16) around an empty document (wire.md `encrypted-env`). */
const MIN_ENCRYPTED_ENV_BYTES = 32 + 12 + 16;
/** Largest encrypted environment; the guest refuses longer ones (G1). */
export const MAX_ENCRYPTED_ENV_BYTES = 1024 * 1024;

export const VM_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** A checked request for a VM: nothing downstream checks it again. */
export interface NewVm {
  readonly name: string;
  /** Name of an image; whether it exists is the image listing's answer. */
  readonly image: string;
  /** The app-compose document, exact text. */
  readonly composeFile: string;
  readonly vcpu: number;
  readonly memoryMb: number;
  readonly diskGb: number;
  readonly ports: readonly PortMapping[];
  /** Empty when there is none. */
  readonly encryptedEnv: Uint8Array;
  readonly appId: AppId;
  /** The app's id was given: this VM joins an app whose first compose document was another one. */
  readonly appIdGiven: boolean;
}

/** The request's fields as they come from the wire. */
export interface VmRequest {
  readonly name: string;
  readonly image: string;
  readonly composeFile: string;
  readonly vcpu: number;
  readonly memory: number;
  readonly diskSize: number;
  readonly ports: readonly { protocol: string; hostPort: number; vmPort: number }[];
  readonly encryptedEnv: Uint8Array;
  readonly appId?: string | undefined;
}

/** @throws {InputError} */
export function requireEncryptedEnv(bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  if (bytes.length < MIN_ENCRYPTED_ENV_BYTES) throw new InputError("encrypted_env is too short to be one");
  if (bytes.length > MAX_ENCRYPTED_ENV_BYTES) {
    throw new InputError(`encrypted_env is larger than ${MAX_ENCRYPTED_ENV_BYTES} bytes`);
  }
}

/**
 * Checks a request for a new VM.
 * @throws {InputError} one sentence on the first thing that is wrong
 */
export function parseNewVm(request: VmRequest, rules: { limits: VmLimits; ports: PortPolicy }): NewVm {
  if (!VM_NAME.test(request.name)) {
    throw new InputError(
      "name must be 1 to 63 letters, digits, dots, dashes or underscores and start with a letter or digit",
    );
  }
  if (request.image === "") throw new InputError("image is missing");
  parseAppCompose(request.composeFile);
  requireVcpu(request.vcpu, rules.limits);
  requireMemory(request.memory, rules.limits);
  requireDiskSize(request.diskSize, rules.limits);
  requireEncryptedEnv(request.encryptedEnv);
  const given = request.appId !== undefined && request.appId !== "" ? request.appId : undefined;
  return {
    name: request.name,
    image: request.image,
    composeFile: request.composeFile,
    vcpu: request.vcpu,
    memoryMb: request.memory,
    diskGb: request.diskSize,
    ports: parsePorts(request.ports, rules.ports),
    encryptedEnv: request.encryptedEnv,
    appId: given === undefined ? appIdOfCompose(utf8(request.composeFile)) : parseAppId(given),
    appIdGiven: given !== undefined,
  };
}
