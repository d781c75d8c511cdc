import type { Handler } from "@dstack/prpc";
import type { tproxy } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { TproxyContext } from "../context.js";
import { requireOwnKey, requireOwnKms } from "../registry/own-key.js";

type GetChallenge = (typeof tproxy.Tproxy)["method"]["getChallenge"];

/**
 * `Tproxy.GetChallenge`: what the quote of fresh evidence must be over. Who could not register gets no challenge, so that
 * containers cannot fill the list of challenges.
 */
export const getChallenge =
  (context: TproxyContext): Handler<GetChallenge["input"], GetChallenge["output"], VerifiedPeer> =>
  async (_request, call) => {
    const peer = requireAttested(call);
    requireOwnKms(context.kmsCaHash, peer);
    requireOwnKey(context.registry, peer);
    return context.challenges.issue(call);
  };
