import type { EmptySchema, dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { VERSION } from "../../version.js";

/** SDKs call it to learn whether this agent knows newer algorithms and options; ours does. */
export const version =
  (): Handler<typeof EmptySchema, typeof dstackGuest.VersionResponseSchema> => async () => ({
    version: VERSION,
    rev: "",
  });
