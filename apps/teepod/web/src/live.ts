import { createLive } from "@dstack/dashboard/web";
import { computed } from "@preact/signals";
import type { TeepodHello } from "../../src/dashboard/hello.js";
import type { HostItem, Item, OtherVmItem, VmItem } from "../../src/dashboard/items.js";

export const { hello, items, follow } = createLive<TeepodHello, Item>();
export const mayChange = computed(() => hello.value?.you.role === "operator");

/** All VMs of this host, oldest first. */
export const vms = computed(() => items.value?.filter((item): item is VmItem => item.kind === "vm"));

/** The other hosts, as the configuration orders them. */
export const hosts = computed(
  () => items.value?.filter((item): item is HostItem => item.kind === "host") ?? [],
);

/** What other hosts told of their VMs, by the host's name. */
export const vmsOf = computed(() => {
  const byHost = new Map<string, OtherVmItem[]>();
  for (const item of items.value ?? []) {
    if (item.kind !== "other-vm") continue;
    const known = byHost.get(item.host);
    if (known === undefined) byHost.set(item.host, [item]);
    else known.push(item);
  }
  return byHost;
});
