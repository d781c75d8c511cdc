import type { EmptySchema, teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

/** Ends a VM at once. */
export const stopVm =
  ({ vms }: TeepodContext): Handler<typeof teepod.IdSchema, typeof EmptySchema, Caller> =>
  async ({ id }) => {
    await vms.stop(id);
    return {};
  };
