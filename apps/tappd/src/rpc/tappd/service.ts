import { tappd } from "@dstack/proto";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { workerInfo } from "../worker/info.js";
import { guarded } from "../guarded.js";
import { EVERYTHING } from "../socket-rights.js";
import type { SocketRights } from "../socket-rights.js";
import { deriveKey } from "./derive-key.js";
import { rawQuote } from "./raw-quote.js";
import { tdxQuote } from "./tdx-quote.js";

/** Service `Tappd`: what containers call on `/var/run/tappd.sock`, and on sockets that are for less. */
export function tappdService(context: TappdContext, rights: SocketRights = EVERYTHING): ServiceImpl {
  return implement(tappd.Tappd, {
    deriveKey: guarded(({ path }) => rights.requireCertificate(path), deriveKey(context)),
    tdxQuote: guarded(() => rights.requireQuote(), tdxQuote(context)),
    rawQuote: guarded(() => rights.requireQuote(), rawQuote(context)),
    info: workerInfo(context, { inside: rights.everything }),
  });
}
