import type { EmptySchema, teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

/** Starts a VM that does not run. */
export const startVm =
  ({ vms }: TeepodContext): Handler<typeof teepod.IdSchema, typeof EmptySchema, Caller> =>
  async ({ id }) => {
    await vms.start(id);
    return {};
  };
