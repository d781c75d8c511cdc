import { InputError } from "@dstack/core";
import type { EmptySchema, dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { requireAppEventName } from "../../quote/event-names.js";

/** The whole log must stay small enough for certificates; large data belongs in a hash. */
const MAX_PAYLOAD_BYTES = 4096;

/** Extends RTMR3 by an event of the application; it stays in every later quote of this VM. */
export const emitEvent =
  (context: TappdContext): Handler<typeof dstackGuest.EmitEventRequestSchema, typeof EmptySchema> =>
  async ({ event, payload }) => {
    requireAppEventName(event);
    if (payload.length > MAX_PAYLOAD_BYTES) {
      throw new InputError(`payload must be at most ${MAX_PAYLOAD_BYTES} bytes, got ${payload.length}`);
    }
    await context.events.extend(event, payload);
    return {};
  };
