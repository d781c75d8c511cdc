import { X509Certificate } from "node:crypto";
import type { AppId } from "@dstack/core";
import { kms } from "@dstack/proto";
import { createClient } from "@dstack/prpc";
import type { RuntimeEventLog } from "@dstack/tdx-attest";
import { checkAppKeys } from "../app-keys.js";
import type { AppKeys } from "../app-keys.js";
import { attestedCall } from "../attested-call.js";
import type { AttestedPeer } from "../attested-call.js";
import { withFreshEvidence } from "../fresh-evidence.js";
import { keyProviderEvent } from "../identity.js";

/**
 * Gets this app's keys from the KMS, checks them against its measured CA, and measures whose keys they are.
 * @throws {RpcError} the KMS refused
 * @throws {AppKeysError} the answer does not belong together
 */
export async function fetchAppKeys(
  peer: AttestedPeer & { readonly events: RuntimeEventLog; readonly appId: AppId },
  signal: AbortSignal,
): Promise<AppKeys> {
  const answer = await attestedCall(
    peer,
    { step: "kms", service: "KMS", urlKey: "kms_url" },
    (transport) =>
      transport.withSession((session) => {
        const client = createClient(kms.KMS, session);
        return withFreshEvidence(
          session,
          peer.events,
          "kms-challenge",
          () => client.getChallenge({}, { signal }),
          (freshEvidence) =>
            client.getAppKey(freshEvidence === undefined ? {} : { freshEvidence }, { signal }),
          signal,
        );
      }),
    signal,
  );
  const keys = checkAppKeys(answer, peer.caPem, peer.appId, Date.now());
  const rootSpki = new X509Certificate(peer.caPem).publicKey.export({ type: "spki", format: "der" });
  const { name, payload } = keyProviderEvent(rootSpki);
  await peer.events.extend(name, payload);
  return keys;
}
