import { RpcError } from "@dstack/prpc";
import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { logHeadNow } from "./get-log-head.js";
import type { AdminContext } from "./admin-context.js";

type GetConsistencyProof = (typeof kms.KMSAdmin)["method"]["getConsistencyProof"];

/** `KMSAdmin.GetConsistencyProof`: that nothing was changed or cut off since a head somebody kept (K5). */
export const getConsistencyProof =
  (
    context: AdminContext,
  ): Handler<GetConsistencyProof["input"], GetConsistencyProof["output"], VerifiedPeer> =>
  async ({ oldSize }) => {
    const { tree } = context.certLog;
    if (oldSize < 1n || oldSize > BigInt(tree.size)) {
      throw new RpcError(
        "bad_request",
        `old_size must be from 1 to ${tree.size}, the size of the issue log now`,
      );
    }
    return { path: tree.consistencyPath(Number(oldSize)), head: logHeadNow(context) };
  };
