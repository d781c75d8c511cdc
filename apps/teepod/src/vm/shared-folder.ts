import { chmod, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createFileExclusive } from "@dstack/core";
import { removeTree } from "./directories.js";
import { INSTANCE_INFO, formatInstanceInfo } from "./instance-info.js";
import type { InstanceInfo } from "./instance-info.js";

/** What teepod tells every guest (wire.md "Host → guest files"): hints, which the guest trusts with nothing. */
export interface GuestHints {
  readonly kmsUrl: string;
  readonly tproxyUrl: string;
  readonly dockerRegistry: string;
}

/** PEM texts; the hash of the KMS root CA is measured by the guest. */
export interface GuestCertificates {
  readonly caCert: string;
  readonly tmpCa?: { readonly cert: string; readonly key: string };
}

/** The shape of the VM, for verifiers that recompute its registers. Names and units are those of today's SDKs. */
export interface VmConfigHint {
  readonly image: string;
  /** See `osImageHash`. */
  readonly os_image_hash?: string;
  readonly cpu_count: number;
  /** Bytes. */
  readonly memory_size: number;
}

export interface SharedFolder {
  /** Exact bytes of the app-compose document. */
  readonly composeFile: string;
  readonly vmId: string;
  readonly rootfsHash: string;
  readonly vmConfig: VmConfigHint;
  readonly hints: GuestHints;
  readonly certificates: GuestCertificates;
  readonly encryptedEnv: Uint8Array;
  readonly instanceInfo?: InstanceInfo;
  /** `simulator.json`, for a development image on a simulated platform only. */
  readonly simulator?: string;
  /** `authorized_keys`, for a development image only. */
  readonly authorizedKeys?: string;
}

/** The files of a shared folder, by path in it. */
export function sharedFiles(folder: SharedFolder): Map<string, { data: string | Uint8Array; mode: number }> {
  const files = new Map<string, { data: string | Uint8Array; mode: number }>();
  const config = {
    kms_url: folder.hints.kmsUrl,
    tproxy_url: folder.hints.tproxyUrl,
    docker_registry: folder.hints.dockerRegistry,
    rootfs_hash: folder.rootfsHash,
    vm_id: folder.vmId,
    vm_config: folder.vmConfig,
  };
  files.set("app-compose.json", { data: folder.composeFile, mode: 0o644 });
  files.set("config.json", { data: `${JSON.stringify(config)}\n`, mode: 0o644 });
  files.set("certs/ca.cert", { data: folder.certificates.caCert, mode: 0o644 });
  if (folder.certificates.tmpCa !== undefined) {
    files.set("certs/tmp-ca.cert", { data: folder.certificates.tmpCa.cert, mode: 0o644 });
    files.set("certs/tmp-ca.key", { data: folder.certificates.tmpCa.key, mode: 0o600 });
  }
  if (folder.encryptedEnv.length > 0) files.set("encrypted-env", { data: folder.encryptedEnv, mode: 0o600 });
  if (folder.instanceInfo !== undefined) {
    files.set(INSTANCE_INFO, { data: formatInstanceInfo(folder.instanceInfo), mode: 0o644 });
  }
  if (folder.simulator !== undefined) files.set("simulator.json", { data: folder.simulator, mode: 0o600 });
  if (folder.authorizedKeys !== undefined) {
    files.set("authorized_keys", { data: folder.authorizedKeys, mode: 0o644 });
  }
  return files;
}

/** Makes the folder anew. It follows from the manifest and the configuration, so a crash in between costs nothing. */
export async function writeSharedFolder(dir: string, folder: SharedFolder): Promise<void> {
  await removeTree(dir);
  await mkdir(join(dir, "certs"), { recursive: true, mode: 0o700 });
  for (const [name, { data, mode }] of sharedFiles(folder)) {
    const path = join(dir, name);
    await createFileExclusive(path, data, { mode });
    await chmod(path, mode); // whatever the umask
  }
}
