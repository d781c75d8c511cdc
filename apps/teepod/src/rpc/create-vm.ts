import type { teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { vmLimits } from "../config.js";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";
import { parseNewVm } from "../vm/new-vm.js";

/** Makes a VM and starts it. */
export const createVm =
  (context: TeepodContext): Handler<typeof teepod.VmConfigurationSchema, typeof teepod.IdSchema, Caller> =>
  async (request) => {
    const { config, vms } = context;
    const vm = parseNewVm(request, { limits: vmLimits(config), ports: config.port_mapping });
    return { id: await vms.create(vm) };
  };
