import { Gauge } from "@dstack/daemon";
import type { Registry } from "@dstack/daemon";
import type { VmManager } from "./vm/vm-manager.js";

/** Numbers of VMs by state, and what this teepod runs on. */
export function addVmMetrics(
  registry: Registry,
  vms: VmManager,
  facts: { hypervisor: string; simulated: boolean },
): void {
  const states = new Gauge({
    name: "teepod_vms",
    help: "VMs of this host by state",
    labelNames: ["state"] as const,
    registers: [registry],
    collect() {
      for (const state of ["running", "stopping", "stopped", "exited"] as const) {
        states.set({ state }, vms.list().filter((vm) => vm.state.at === state).length);
      }
    },
  });
  const info = new Gauge({
    name: "teepod_info",
    help: 'Always 1; simulated="true": development images run on a simulated TDX platform',
    labelNames: ["hypervisor", "simulated"] as const,
    registers: [registry],
  });
  info.set({ hypervisor: facts.hypervisor, simulated: String(facts.simulated) }, 1);
}
