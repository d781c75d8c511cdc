import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { entryForPeer } from "../cert-log/entry-of.js";
import type { KmsContext } from "../context.js";
import { deriveAppKeys } from "../keys/app-keys.js";
import { issueAppCa } from "../keys/issue-app-ca.js";
import { ReleaseError, requireReleasable } from "../policy/key-release.js";

type GetAppKey = (typeof kms.KMS)["method"]["getAppKey"];

/**
 * `KMS.GetAppKey`: derives the keys of the calling instance and issues its app's CA certificate, which is in the issue
 * log before it is in the answer.
 */
export const getAppKey =
  (context: KmsContext): Handler<GetAppKey["input"], GetAppKey["output"], VerifiedPeer> =>
  async (_request, call) => {
    const peer = requireAttested(call); // evidence verified over the TLS key, measurements and platform allowed
    const log = context.log.child({
      appId: peer.appId,
      instanceId: peer.instanceId,
      requestId: call.requestId,
    });
    try {
      await requireReleasable(context.release, peer);
    } catch (err) {
      if (err instanceof ReleaseError) {
        context.metrics.refused.inc({ rule: err.code });
        log.warn({ rule: err.code, reason: err.message }, "key release refused");
      }
      throw err;
    }
    const keys = deriveAppKeys(context.root, peer, context.diskKeyMode, (what, attempt) =>
      log.warn({ what, attempt }, "derived value was no key, took the next one"),
    );
    const { leaf, chain } = await issueAppCa(context.root, keys.app, peer.appId, context.subjectPostfix);
    const entry = await context.certLog.append(entryForPeer(leaf, peer));
    context.metrics.released.inc({ anchor: peer.anchor });
    log.info({ seq: entry.seq, anchor: peer.anchor, tcbStatus: peer.tcbStatus }, "keys released");
    return {
      appKey: keys.app.privateKeyPem,
      diskCryptKey: keys.disk,
      envCryptKey: keys.env,
      certificateChain: chain,
      k256Key: keys.k256.key,
      k256Signature: keys.k256.signature,
    };
  };
