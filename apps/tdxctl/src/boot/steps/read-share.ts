import { InputError } from "@dstack/core";
import { pemToDer, splitPem } from "@dstack/ra-tls";
import { parseAppCompose } from "../app-compose.js";
import type { AppCompose } from "../app-compose.js";
import type { GuestSystem } from "../guest-system.js";
import { parseInstanceInfo } from "../identity.js";
import type { InstanceInfo } from "../identity.js";
import { parseHostConfig } from "../share.js";
import type { HostConfig, RawShare } from "../share.js";

/** The host's files, read once and parsed. Only the compose document and the CA are going to be measured. */
export interface HostShare {
  readonly compose: AppCompose;
  /** The exact bytes that were hashed. */
  readonly composeBytes: Uint8Array;
  readonly config: HostConfig;
  /** The KMS root CA, one certificate. */
  readonly caPem: string;
  readonly caDer: Uint8Array;
  readonly instanceInfo: InstanceInfo;
  readonly encryptedEnv: Uint8Array | undefined;
  readonly simulator: Uint8Array | undefined;
}

/** @throws {InputError} a file that is missing, unreadable by G1's rules, or not what it should be */
export async function readHostShare(system: GuestSystem, signal: AbortSignal): Promise<HostShare> {
  return parseShare(await system.readShare(signal));
}

/** @throws {InputError} */
export function parseShare(raw: RawShare): HostShare {
  if (raw.caCert === undefined) throw new InputError("the host share has no certs/ca.cert");
  const certificates = splitPem(new TextDecoder().decode(raw.caCert));
  const [caPem] = certificates;
  // One certificate is measured, so one is trusted.
  if (caPem === undefined || certificates.length !== 1) {
    throw new InputError("certs/ca.cert must hold one certificate, the KMS root CA");
  }
  return {
    compose: parseAppCompose(raw.appCompose),
    composeBytes: raw.appCompose,
    config: parseHostConfig(raw.config),
    caPem,
    caDer: pemToDer(caPem),
    instanceInfo: parseInstanceInfo(raw.instanceInfo),
    encryptedEnv: raw.encryptedEnv,
    simulator: raw.simulator,
  };
}
