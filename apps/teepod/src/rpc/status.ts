import type { EmptySchema, teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";
import { allVmInfos } from "./vm-info.js";

/** All VMs. */
export const status =
  (context: TeepodContext): Handler<typeof EmptySchema, typeof teepod.StatusResponseSchema, Caller> =>
  async () => ({
    vms: await allVmInfos(context),
    portMappingEnabled: context.config.port_mapping.enabled,
  });
