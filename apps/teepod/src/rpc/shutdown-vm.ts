import type { EmptySchema, teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

/** Asks the guest to shut down. */
export const shutdownVm =
  ({ vms }: TeepodContext): Handler<typeof teepod.IdSchema, typeof EmptySchema, Caller> =>
  async ({ id }) => {
    await vms.shutDown(id);
    return {};
  };
