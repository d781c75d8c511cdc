import type { Call } from "@dstack/prpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { KmsContext } from "../context.js";
import { ReleaseError } from "../policy/key-release.js";

/** Counts and logs when a rule refuses keys to a peer whose evidence is good. */
export async function reportRefusal<T>(
  context: Pick<KmsContext, "metrics" | "log">,
  call: Call<VerifiedPeer>,
  { appId, instanceId }: VerifiedPeer,
  decide: () => Promise<T>,
): Promise<T> {
  try {
    return await decide();
  } catch (err) {
    if (err instanceof ReleaseError) {
      const { code: rule, message: reason } = err;
      context.metrics.refused.inc({ rule });
      context.log.warn({ appId, instanceId, requestId: call.requestId, rule, reason }, "key release refused");
    }
    throw err;
  }
}
