import { RpcError } from "@dstack/prpc";
import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { logHeadNow } from "./get-log-head.js";
import type { AdminContext } from "./admin-context.js";

type GetInclusionProof = (typeof kms.KMSAdmin)["method"]["getInclusionProof"];

/** `KMSAdmin.GetInclusionProof`: the entry of a certificate, and that it is in the log with this head (K5). */
export const getInclusionProof =
  (context: AdminContext): Handler<GetInclusionProof["input"], GetInclusionProof["output"], VerifiedPeer> =>
  async ({ certificateSha256 }) => {
    if (certificateSha256.length !== 32) {
      throw new RpcError("bad_request", "certificate_sha256 must be the 32 bytes of a SHA-256");
    }
    const found = await context.certLog.find(certificateSha256);
    if (found === undefined)
      throw new RpcError("not_found", "no certificate with this SHA-256 is in the issue log");
    const { tree } = context.certLog;
    // Head and path are of one moment: nothing is awaited between the two.
    return {
      entry: found.json,
      index: BigInt(found.seq),
      path: tree.inclusionPath(found.seq),
      head: logHeadNow(context),
    };
  };
