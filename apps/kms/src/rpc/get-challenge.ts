import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { KmsContext } from "../context.js";
import { requireReleasable } from "../policy/key-release.js";
import { reportRefusal } from "./report-refusal.js";

type GetChallenge = (typeof kms.KMS)["method"]["getChallenge"];

/**
 * `KMS.GetChallenge`: what the quote of fresh evidence must be over. Who would get no keys gets no challenge: a guest
 * learns the reason before it makes a quote, and containers cannot fill the list of challenges (E5).
 */
export const getChallenge =
  (context: KmsContext): Handler<GetChallenge["input"], GetChallenge["output"], VerifiedPeer> =>
  async (_request, call) => {
    const peer = requireAttested(call);
    await reportRefusal(context, call, peer, () => requireReleasable(context.release, peer));
    return context.challenges.issue(call);
  };
