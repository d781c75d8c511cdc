import { dstackGuest } from "@dstack/proto";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { attest } from "./attest.js";
import { emitEvent } from "./emit-event.js";
import { getKey } from "./get-key.js";
import { getQuote } from "./get-quote.js";
import { getTlsKey } from "./get-tls-key.js";
import { guestInfo } from "./info.js";
import { sign } from "./sign.js";
import { verify } from "./verify.js";
import { version } from "./version.js";

/** Service `DstackGuest`: what today's SDKs call on `/var/run/dstack.sock`. */
export function dstackGuestService(context: TappdContext): ServiceImpl {
  return implement(dstackGuest.DstackGuest, {
    getTlsKey: getTlsKey(context),
    getKey: getKey(context),
    getQuote: getQuote(context),
    attest: attest(context),
    emitEvent: emitEvent(context),
    info: guestInfo(context),
    sign: sign(context),
    verify: verify(),
    version: version(),
  });
}
