import type { tappd } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { appReportData } from "../../quote/report-data.js";

/** A quote over a hash of the caller's data, in the application's own domain. */
export const tdxQuote =
  (context: TappdContext): Handler<typeof tappd.TdxQuoteRequestSchema, typeof tappd.TdxQuoteResponseSchema> =>
  async (request, call) =>
    context.quotes.get(appReportData(request.reportData, request.hashAlgorithm), call.signal);
