import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { signLogHead } from "../cert-log/log-head.js";
import type { LogHead } from "../cert-log/log-head.js";
import type { AdminContext } from "./admin-context.js";

type GetLogHead = (typeof kms.KMSAdmin)["method"]["getLogHead"];

/** The state of the issue log now, signed by the root CA's key. */
export function logHeadNow({ certLog, root }: Pick<AdminContext, "certLog" | "root">): LogHead {
  return signLogHead(certLog.tree, root.ca.key, Math.floor(Date.now() / 1000));
}

/** `KMSAdmin.GetLogHead` */
export const getLogHead =
  (context: AdminContext): Handler<GetLogHead["input"], GetLogHead["output"], VerifiedPeer> =>
  async () =>
    logHeadNow(context);
