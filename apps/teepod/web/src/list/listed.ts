import { signal } from "@preact/signals";
import type { HostItem, OtherVmItem, VmItem } from "../../../src/dashboard/items.js";
import { hosts, vms, vmsOf } from "../live.js";

/** Value of the choice for the host that serves this page; no other host is called so. */
export const THIS_HOST = "(this host)";

/** What the list is narrowed down to; kept while other pages are shown. */
export const search = signal("");
/** A host's name, {@link THIS_HOST}, or nothing for all. */
export const chosen = signal("");

/** A row: a VM, and its host unless it is this one. */
export interface Listed {
  readonly vm: VmItem | OtherVmItem;
  readonly host?: HostItem;
}

function all(): readonly Listed[] {
  return [
    ...(vms.value ?? []).map((vm) => ({ vm })),
    ...hosts.value.flatMap((host) => (vmsOf.value.get(host.name) ?? []).map((vm) => ({ vm, host }))),
  ];
}

/** The VMs of all hosts, this one's first. */
export function listed(): { readonly rows: readonly Listed[]; readonly total: number } {
  const everything = all();
  const wanted = search.value.trim().toLowerCase();
  const rows = everything
    .filter(({ host }) => chosen.value === "" || chosen.value === (host?.name ?? THIS_HOST))
    .filter(({ vm }) =>
      [vm.name, vm.app_id, vm.image, vm.status].some((text) => text.toLowerCase().includes(wanted)),
    );
  return { rows, total: everything.length };
}
