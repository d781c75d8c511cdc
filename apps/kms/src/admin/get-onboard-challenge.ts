import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { AdminContext } from "./admin-context.js";
import { requireReplica } from "./onboard.js";

type GetChallenge = (typeof kms.KMSAdmin)["method"]["getChallenge"];

/** `KMSAdmin.GetChallenge`: who may not become a replica gets none. */
export const getOnboardChallenge =
  (context: AdminContext): Handler<GetChallenge["input"], GetChallenge["output"], VerifiedPeer> =>
  async (_request, call) => {
    requireReplica(context, requireAttested(call));
    return context.challenges.issue(call);
  };
