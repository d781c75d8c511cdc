import { tappd } from "@dstack/proto";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { workerInfo } from "../worker/info.js";
import { deriveKey } from "./derive-key.js";
import { rawQuote } from "./raw-quote.js";
import { tdxQuote } from "./tdx-quote.js";

/** Service `Tappd`: what containers call on `/var/run/tappd.sock`. */
export function tappdService(context: TappdContext): ServiceImpl {
  return implement(tappd.Tappd, {
    deriveKey: deriveKey(context),
    tdxQuote: tdxQuote(context),
    rawQuote: rawQuote(context),
    info: workerInfo(context, { inside: true }),
  });
}
