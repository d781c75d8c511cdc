import { createLive } from "@dstack/dashboard/web";
import { computed } from "@preact/signals";
import type { TeepodHello } from "../../src/dashboard/hello.js";
import type { VmSummary } from "../../src/dashboard/vm-summary.js";

/** `vms`: all VMs, oldest first. */
export const { hello, items: vms, follow } = createLive<TeepodHello, VmSummary>();
export const mayChange = computed(() => hello.value?.you.role === "operator");
