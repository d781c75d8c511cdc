import type { EmptySchema, teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

/** Changes CPUs, memory and disk size of a VM that does not run; what is not given stays. */
export const resizeVm =
  ({ vms }: TeepodContext): Handler<typeof teepod.ResizeVmRequestSchema, typeof EmptySchema, Caller> =>
  async ({ id, vcpu, memory, diskSize, expectedEtag }) => {
    const shape = {
      ...(vcpu !== undefined && { vcpu }),
      ...(memory !== undefined && { memoryMb: memory }),
      ...(diskSize !== undefined && { diskGb: diskSize }),
    };
    await vms.resize(id, shape, expectedEtag);
    return {};
  };
