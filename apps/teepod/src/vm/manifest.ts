import { hex, fromHex, parseAppId, parseVmId, sha256 } from "@dstack/core";
import { z } from "zod";
import type { NewVm } from "./new-vm.js";

function brand<T>(parse: (text: string) => T) {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (err) {
      context.addIssue({ code: "custom", message: err instanceof Error ? err.message : String(err) });
      return z.NEVER;
    }
  });
}

const port = z.int().min(1).max(65_535);

/**
 * `manifest.json`: what a VM is. The only copy of its configuration; the shared folder is made from it at every
 * start, so an upgrade or a resize is one atomic write of this file.
 */
const Manifest = z.strictObject({
  version: z.literal(1),
  id: brand(parseVmId),
  name: z.string(),
  image: z.string(),
  /** The app's id: of its first compose document, whatever it has been upgraded to. */
  app_id: brand(parseAppId),
  app_id_given: z.boolean(),
  compose_file: z.string(),
  encrypted_env: z.string().transform((text) => fromHex(text, "encrypted_env")),
  vcpu: z.int(),
  memory_mb: z.int(),
  disk_gb: z.int(),
  ports: z.array(z.strictObject({ protocol: z.enum(["tcp", "udp"]), host_port: port, vm_port: port })),
  cid: z.int(),
  created_at: z.iso.datetime(),
});

export type Manifest = z.output<typeof Manifest>;

/** @throws a ZodError or SyntaxError: the file was changed by somebody else or by a newer teepod */
export function parseManifest(text: string): Manifest {
  return Manifest.parse(JSON.parse(text));
}

export function formatManifest(manifest: Manifest): string {
  return `${JSON.stringify({ ...manifest, encrypted_env: hex(manifest.encrypted_env) }, undefined, 2)}\n`;
}

const etags = new WeakMap<Manifest, string>();

/** Stands for one configuration of a VM: whoever names it changes only what they have seen. */
export function etagOf(manifest: Manifest): string {
  let etag = etags.get(manifest);
  if (etag === undefined) {
    etag = hex(sha256(formatManifest(manifest))).slice(0, 32);
    etags.set(manifest, etag);
  }
  return etag;
}

/** The manifest of a new VM. */
export function newManifest(vm: NewVm, given: { id: Manifest["id"]; cid: number; now: Date }): Manifest {
  return {
    version: 1,
    id: given.id,
    name: vm.name,
    image: vm.image,
    app_id: vm.appId,
    app_id_given: vm.appIdGiven,
    compose_file: vm.composeFile,
    encrypted_env: vm.encryptedEnv,
    vcpu: vm.vcpu,
    memory_mb: vm.memoryMb,
    disk_gb: vm.diskGb,
    ports: vm.ports.map((p) => ({ protocol: p.protocol, host_port: p.hostPort, vm_port: p.vmPort })),
    cid: given.cid,
    created_at: given.now.toISOString(),
  };
}
