import { hex, utf8 } from "@dstack/core";
import type { dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { paddedReportData } from "../../quote/report-data.js";

/**
 * Everything a verifier of this VM needs, as one blob: the UTF-8 text of a JSON object
 * `{version: 1, platform, quote, event_log, report_data, vm_config}`, bytes as hex.
 */
export const attest =
  (
    context: TappdContext,
  ): Handler<typeof dstackGuest.GetQuoteRequestSchema, typeof dstackGuest.AttestResponseSchema> =>
  async (request, call) => {
    const reportData = paddedReportData(request.reportData);
    const { quote, eventLog } = await context.quotes.get(reportData, call.signal);
    const blob = JSON.stringify({
      version: 1,
      platform: context.platform,
      quote: hex(quote),
      event_log: eventLog,
      report_data: hex(reportData),
      vm_config: context.vmConfig,
    });
    return { attestation: utf8(blob) };
  };
