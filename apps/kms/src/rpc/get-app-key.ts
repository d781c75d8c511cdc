import type { Call, Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { entryForPeer } from "../cert-log/entry-of.js";
import type { KmsContext } from "../context.js";
import { deriveAppKeys } from "../keys/app-keys.js";
import { issueAppCa } from "../keys/issue-app-ca.js";
import { requireFresh, requireReleasable } from "../policy/key-release.js";
import { reportRefusal } from "./report-refusal.js";

type GetAppKey = (typeof kms.KMS)["method"]["getAppKey"];

/**
 * `KMS.GetAppKey`: derives the keys of the calling instance and issues its app's CA certificate, which is in the issue
 * log before it is in the answer.
 */
export const getAppKey =
  (context: KmsContext): Handler<GetAppKey["input"], GetAppKey["output"], VerifiedPeer> =>
  async ({ freshEvidence }, call) => {
    const attested = requireAttested(call); // evidence verified over the TLS key, measurements and platform allowed
    const peer = await reportRefusal(context, call, attested, () =>
      releasablePeer(context, call, freshEvidence),
    );
    const log = context.log.child({
      appId: peer.appId,
      instanceId: peer.instanceId,
      requestId: call.requestId,
    });
    const keys = deriveAppKeys(context.root, peer, context.diskKeyMode, (what, attempt) =>
      log.warn({ what, attempt }, "derived value was no key, took the next one"),
    );
    const { leaf, chain } = await issueAppCa(context.root, keys.app, peer.appId, context.subjectPostfix);
    const entry = await context.certLog.append(entryForPeer(leaf, "app-ca", peer));
    context.metrics.released.inc({ anchor: peer.anchor });
    log.info(
      {
        seq: entry.seq,
        anchor: peer.anchor,
        tcbStatus: peer.tcbStatus,
        advisories: peer.advisories,
        tcbEvaluation: peer.tcbEvaluation,
        ppid: peer.ppid,
        fmspc: peer.fmspc,
        freshEvidence: freshEvidence !== undefined,
      },
      "keys released",
    );
    return {
      appKey: keys.app.privateKeyPem,
      diskCryptKey: keys.disk,
      envCryptKey: keys.env,
      certificateChain: chain,
      k256Key: keys.k256.key,
      k256Signature: keys.k256.signature,
    };
  };

/** The caller by the newest evidence there is, which is what the rules of release are applied to. */
async function releasablePeer(
  context: KmsContext,
  call: Call<VerifiedPeer>,
  freshEvidence: kms.FreshEvidence | undefined,
): Promise<VerifiedPeer> {
  requireFresh(context.release, freshEvidence !== undefined);
  const peer =
    freshEvidence === undefined
      ? requireAttested(call)
      : await context.challenges.verify(call, freshEvidence);
  await requireReleasable(context.release, peer);
  return peer;
}
