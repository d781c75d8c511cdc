import { RpcError } from "@dstack/prpc";
import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import { requireAttested } from "@dstack/ra-rpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { entryForPeer } from "../cert-log/entry-of.js";
import type { AdminContext } from "./admin-context.js";

type Onboard = (typeof kms.KMSAdmin)["method"]["onboard"];

/**
 * Decides whether an attested peer may have the root key at all. Its image is on the list of the KMS, as that of every
 * tenant's VM is: what makes it a replica is the document it runs. In that VM only the replica's containers run, so
 * that evidence from after `system-ready` is as good here (unlike E5). Its disk, where the root key goes, must not be
 * under the keys of somebody else's KMS: whoever starts the VM chooses which one gives them.
 * @throws {RpcError} `permission_denied`
 */
export function requireReplica(
  { replicaComposeHashes, root }: Pick<AdminContext, "replicaComposeHashes" | "root">,
  { composeHash, caCertHash }: Pick<VerifiedPeer, "composeHash" | "caCertHash">,
): void {
  if (!replicaComposeHashes.has(composeHash)) {
    throw new RpcError(
      "permission_denied",
      `the compose document ${composeHash} is not one of a replica ([admin] replica_compose_hashes)`,
    );
  }
  if (caCertHash !== root.caCertHash) {
    throw new RpcError(
      "permission_denied",
      "the replica's VM was started with the CA certificate of another KMS, which knows the key of its disk",
    );
  }
}

/**
 * `KMSAdmin.Onboard`: the root key, for a replica's fresh evidence and a one-time token. It is in the issue log before
 * it is in the answer, and in no other place (K6).
 */
export const onboard =
  (context: AdminContext): Handler<Onboard["input"], Onboard["output"], VerifiedPeer> =>
  async ({ token, freshEvidence }, call) => {
    const attested = requireAttested(call);
    const { appId, instanceId, composeHash } = attested;
    const log = context.log.child({ appId, instanceId, composeHash, requestId: call.requestId });
    try {
      requireReplica(context, attested);
      if (freshEvidence === undefined) {
        throw new RpcError("permission_denied", "the root key is handed over to fresh evidence only");
      }
      const peer = await context.challenges.verify(call, freshEvidence);
      // Last: who cannot have the key does not use tokens up.
      if (!(await context.tokens.take(token, Date.now()))) {
        throw new RpcError("permission_denied", "the token is not valid, was used or has expired");
      }
      const { ca } = context.root;
      const { seq } = await context.certLog.append(entryForPeer(ca.certPem, "root-handover", peer));
      context.metrics.handovers.inc();
      log.warn(
        { seq, anchor: peer.anchor, remoteAddress: call.remoteAddress },
        "ROOT KEY handed over to a replica",
      );
      const rootCaKey = ca.key.export({ type: "pkcs8", format: "pem" }).toString();
      return { rootCaKey };
    } catch (err) {
      log.warn({ err, remoteAddress: call.remoteAddress }, "root key not handed over");
      throw err;
    }
  };
