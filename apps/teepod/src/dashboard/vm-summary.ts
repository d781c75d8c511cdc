import { hex, sha256 } from "@dstack/core";
import type { TeepodContext } from "../context.js";
import { vmInfo } from "../rpc/vm-info.js";
import type { Manifest } from "../vm/manifest.js";
import type { Vm } from "../vm/vm.js";

/** A VM as the dashboard's list shows it: all that changes by itself, and nothing large. */
export interface VmSummary {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  readonly notice?: string;
  readonly app_id: string;
  /** SHA-256 of the compose document, 64 hex digits. */
  readonly compose_hash: string;
  readonly instance_id?: string;
  readonly app_url?: string;
  readonly app_port: number;
  readonly image: string;
  readonly vcpu: number;
  /** MB */
  readonly memory: number;
  /** GB */
  readonly disk_size: number;
  readonly ports: readonly { protocol: string; host_port: number; vm_port: number }[];
  /** RFC 3339; while it runs. */
  readonly started_at?: string;
  readonly exited_at?: string;
  readonly boot_progress?: string;
  readonly boot_error?: string;
  readonly etag: string;
}

const hashes = new WeakMap<Manifest, string>();

/** Documents are large and summaries are made every second; a manifest never changes, it is replaced. */
function composeHash(manifest: Manifest): string {
  let hash = hashes.get(manifest);
  if (hash === undefined) {
    hash = hex(sha256(manifest.compose_file));
    hashes.set(manifest, hash);
  }
  return hash;
}

/** What the dashboard shows of a VM. */
export async function vmSummary(context: TeepodContext, vm: Vm): Promise<VmSummary> {
  const info = await vmInfo(context, vm);
  const { manifest, state } = vm;
  return {
    id: manifest.id,
    name: manifest.name,
    status: info.status ?? "",
    app_id: manifest.app_id,
    compose_hash: composeHash(manifest),
    image: manifest.image,
    vcpu: manifest.vcpu,
    memory: manifest.memory_mb,
    disk_size: manifest.disk_gb,
    ports: manifest.ports,
    etag: info.etag ?? "",
    app_port: info.appPort ?? 80,
    ...("vm" in state && { started_at: state.vm.startedAt.toISOString() }),
    ...(info.notice !== undefined && { notice: info.notice }),
    ...(info.instanceId !== undefined && { instance_id: info.instanceId }),
    ...(info.appUrl !== undefined && { app_url: info.appUrl }),
    ...(info.exitedAt !== undefined && { exited_at: info.exitedAt }),
    ...(info.bootProgress !== undefined && { boot_progress: info.bootProgress }),
    ...(info.bootError !== undefined && { boot_error: info.bootError }),
  };
}

/** All VMs, oldest first. */
export async function vmSummaries(context: TeepodContext): Promise<VmSummary[]> {
  return Promise.all(context.vms.list().map((vm) => vmSummary(context, vm)));
}
