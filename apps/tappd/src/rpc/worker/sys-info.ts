import type { EmptySchema, tappd } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { SYSTEM_INFORMATION, requirePublic } from "../../app/public.js";
import type { TappdContext } from "../../context.js";
import { readSystemInfo } from "../../system/system-info.js";

export const sysInfo =
  (context: TappdContext): Handler<typeof EmptySchema, typeof tappd.SystemInfoSchema> =>
  async () => {
    requirePublic(context.compose, SYSTEM_INFORMATION);
    return readSystemInfo(context.system);
  };
