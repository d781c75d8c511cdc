import { parseVmId } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";
import { vmInfo } from "./vm-info.js";

/** One VM, or `found: false`. */
export const getInfo =
  (context: TeepodContext): Handler<typeof teepod.IdSchema, typeof teepod.GetInfoResponseSchema, Caller> =>
  async ({ id }) => {
    const vm = context.vms.find(parseVmId(id));
    return vm === undefined ? { found: false } : { found: true, info: await vmInfo(context, vm) };
  };
