import type { tappd } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { paddedReportData } from "../../quote/report-data.js";

/** A quote over up to 64 bytes as the caller gives them. Safe because no quote after `system-ready` releases keys (E5). */
export const rawQuote =
  (context: TappdContext): Handler<typeof tappd.RawQuoteRequestSchema, typeof tappd.TdxQuoteResponseSchema> =>
  async (request, call) =>
    context.quotes.get(paddedReportData(request.reportData), call.signal);
