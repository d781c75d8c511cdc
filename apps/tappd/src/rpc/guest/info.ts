import type { EmptySchema, dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { mrAggregated, osImageHashOf, tcbInfoJson } from "../../quote/tcb-info.js";

/**
 * Who this app is, for its own containers.
 * @param options.inside the caller may see the compose document and the event log whether they are public or not (G7, G8)
 */
export const guestInfo =
  (
    context: TappdContext,
    options: { inside: boolean },
  ): Handler<typeof EmptySchema, typeof dstackGuest.AppInfoSchema> =>
  async (_request, call) => {
    const { compose, identity, vmConfig } = context;
    const measured = await context.measurements.current(call.signal);
    const osImageHash = osImageHashOf(vmConfig);
    return {
      appId: identity.appId,
      instanceId: identity.instanceId,
      appCert: context.appCertificate(),
      tcbInfo: tcbInfoJson(measured, identity, compose, {
        everything: options.inside || compose.publicTcbinfo,
        osImageHash,
      }),
      appName: compose.name,
      mrAggregated: mrAggregated(measured.body),
      osImageHash,
      keyProviderInfo: identity.keyProvider ?? "",
      composeHash: identity.composeHash,
      vmConfig,
    };
  };
