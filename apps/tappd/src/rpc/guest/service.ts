import { dstackGuest } from "@dstack/proto";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { guarded } from "../guarded.js";
import { EVERYTHING } from "../socket-rights.js";
import type { SocketRights } from "../socket-rights.js";
import { attest } from "./attest.js";
import { emitEvent } from "./emit-event.js";
import { getKey } from "./get-key.js";
import { getQuote } from "./get-quote.js";
import { getTlsKey } from "./get-tls-key.js";
import { guestInfo } from "./info.js";
import { SIGNING_KEY, sign } from "./sign.js";
import { verify } from "./verify.js";
import { version } from "./version.js";

/** Service `DstackGuest`: what today's SDKs call on `/var/run/dstack.sock`, and on sockets that are for less. */
export function dstackGuestService(context: TappdContext, rights: SocketRights = EVERYTHING): ServiceImpl {
  return implement(dstackGuest.DstackGuest, {
    // Its key belongs to no path, so only who may have certificates of every path may have it.
    getTlsKey: guarded(({ usageRaTls }) => {
      rights.requireCertificate("");
      if (usageRaTls) rights.requireQuote();
    }, getTlsKey(context)),
    getKey: guarded(({ path }) => rights.requireKey(path), getKey(context)),
    getQuote: guarded(() => rights.requireQuote(), getQuote(context)),
    attest: guarded(() => rights.requireQuote(), attest(context)),
    emitEvent: guarded(() => rights.requireEverything(), emitEvent(context)),
    info: guestInfo(context, { inside: rights.everything }),
    sign: guarded(() => rights.requireKey(SIGNING_KEY.path), sign(context)),
    verify: verify(),
    version: version(),
  });
}
