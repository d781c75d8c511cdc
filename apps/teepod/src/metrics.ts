import { Gauge } from "@dstack/daemon";
import type { Registry } from "@dstack/daemon";
import { describeState } from "./rpc/vm-info.js";
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
      const all = vms.list().map(({ state }) => describeState(state).status);
      for (const state of ["running", "paused", "stopping", "stopped", "exited"]) {
        states.set({ state }, all.filter((status) => status === state).length);
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
