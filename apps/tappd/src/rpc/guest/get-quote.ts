import type { dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { paddedReportData } from "../../quote/report-data.js";

/** A quote over up to 64 bytes as the caller gives them, padded on the right with zeros. */
export const getQuote =
  (
    context: TappdContext,
  ): Handler<typeof dstackGuest.GetQuoteRequestSchema, typeof dstackGuest.GetQuoteResponseSchema> =>
  async (request, call) => {
    const reportData = paddedReportData(request.reportData);
    const { quote, eventLog } = await context.quotes.get(reportData, call.signal);
    return { quote, eventLog, reportData, vmConfig: context.vmConfig };
  };
