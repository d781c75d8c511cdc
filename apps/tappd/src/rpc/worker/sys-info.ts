import type { EmptySchema, tappd } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { requirePublicSysinfo } from "../../app/public.js";
import type { TappdContext } from "../../context.js";
import { readSystemInfo } from "../../system/system-info.js";

export const sysInfo =
  (context: TappdContext): Handler<typeof EmptySchema, typeof tappd.SystemInfoSchema> =>
  async () => {
    requirePublicSysinfo(context.compose);
    return readSystemInfo(context.system);
  };
