import { parseVmId } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import { RpcError } from "@dstack/prpc";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";
import { readBootSteps } from "../vm/progress.js";

/** The steps of a VM's last boot. They are what its guest says, made harmless for display. */
export const getBootTimeline =
  ({ vms }: TeepodContext): Handler<typeof teepod.IdSchema, typeof teepod.BootTimelineSchema, Caller> =>
  async ({ id }) => {
    const vm = vms.find(parseVmId(id));
    if (vm === undefined) throw new RpcError("not_found", "there is no VM of that id");
    return { steps: await readBootSteps(vm.statusDir) };
  };
