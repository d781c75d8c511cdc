import { createLive, now } from "@dstack/dashboard/web";
import { computed } from "@preact/signals";
import type { InstanceItem, Item, NodeItem, SiteItem, TproxyHello } from "../../src/dashboard/items.js";

export const { hello, items, follow } = createLive<TproxyHello, Item>();

export const site = computed(() => items.value?.find((item): item is SiteItem => item.kind === "site"));

export const nodes = computed(() =>
  items.value
    ?.filter((item): item is NodeItem => item.kind === "node")
    .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
);

/** By app, then by id. */
export const instances = computed(() =>
  items.value
    ?.filter((item): item is InstanceItem => item.kind === "instance")
    .toSorted((a, b) => (a.app_id + a.id < b.app_id + b.id ? -1 : 1)),
);

const ahead = computed(() => (hello.value === undefined ? 0 : hello.value.time - Date.now()));

/** The node's time, Unix milliseconds: this computer's clock may be another. */
export const nodeTime = computed(() => now.value + ahead.value);
