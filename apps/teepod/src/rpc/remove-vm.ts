import type { EmptySchema, teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

/** Removes a VM that does not run, with its data. */
export const removeVm =
  ({ vms }: TeepodContext): Handler<typeof teepod.IdSchema, typeof EmptySchema, Caller> =>
  async ({ id }) => {
    await vms.remove(id);
    return {};
  };
