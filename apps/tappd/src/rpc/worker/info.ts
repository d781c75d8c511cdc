import type { EmptySchema, tappd } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { osImageHashOf, tcbInfoJson } from "../../quote/tcb-info.js";

/**
 * Who this app is.
 * @param options.inside the caller is a container of the app and may see its compose document (G8)
 */
export const workerInfo =
  (
    context: TappdContext,
    options: { inside: boolean },
  ): Handler<typeof EmptySchema, typeof tappd.WorkerInfoSchema> =>
  async (_request, call) => {
    const { compose, identity } = context;
    const measured = await context.measurements.current(call.signal);
    return {
      appId: identity.appId,
      instanceId: identity.instanceId,
      appCert: context.appCertificate(),
      tcbInfo: tcbInfoJson(measured, identity, compose, {
        everything: options.inside || compose.publicTcbinfo,
        osImageHash: osImageHashOf(context.vmConfig),
      }),
      appName: compose.name,
      publicLogs: compose.publicLogs,
      publicSysinfo: compose.publicSysinfo,
    };
  };
