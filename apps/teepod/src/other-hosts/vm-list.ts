import { z } from "zod";
import type { OtherVmItem } from "../dashboard/items.js";
import { IMAGE_NAME } from "../images/image-store.js";
import { VM_NAME } from "../vm/new-vm.js";
import { cleanLine } from "../vm/text.js";

/** As many as a host has context ids for, unless it was told otherwise. */
const MAX_VMS = 1_000;
const MAX_LINE_LENGTH = 400;

const line = z
  .string()
  .max(4 * MAX_LINE_LENGTH)
  .transform((text) => cleanLine(text, MAX_LINE_LENGTH));
const time = z.iso.datetime().max(40);

/** What is taken of a VM; the rest, addresses above all, is not looked at: nothing that is told becomes a link. */
const Vm = z.object({
  id: z.uuid().lowercase(),
  name: z.string().regex(VM_NAME),
  status: z.enum(["running", "paused", "stopping", "stopped", "exited"]),
  app_id: z.string().regex(/^[0-9a-f]{40}$/),
  image: z.string().regex(IMAGE_NAME),
  notice: line.exactOptional(),
  started_at: time.exactOptional(),
  exited_at: time.exactOptional(),
  boot_progress: line.exactOptional(),
  boot_error: line.exactOptional(),
});

const VmList = z.object({
  role: z.enum(["viewer", "operator"]),
  // Looked at one by one, up to the first that is wrong: what a schema says of a million wrong ones takes gigabytes.
  vms: z.array(z.unknown()).max(MAX_VMS),
});

export interface VmList {
  /** What our token may do there. */
  readonly role: "viewer" | "operator";
  readonly vms: readonly OtherVmItem[];
}

/**
 * Reads another host's `GET /vms`, which that host may have made up (T6).
 * @param host its name here
 * @throws {SyntaxError | z.ZodError} it is none
 */
export function parseVmList(host: string, json: string): VmList {
  const { role, vms } = VmList.parse(JSON.parse(json));
  const items = new Map<string, OtherVmItem>();
  for (const vm of vms) {
    const { id: vmId, ...told } = Vm.parse(vm);
    const id = `${host}/${vmId}`;
    items.set(id, { kind: "other-vm", id, host, vm_id: vmId, ...told });
  }
  return { role, vms: [...items.values()] };
}
