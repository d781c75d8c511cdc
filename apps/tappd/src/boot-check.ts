import { parseEventLog, readAppIdentity } from "@dstack/attestation";
import type { AppIdentity } from "@dstack/attestation";
import { InputError } from "@dstack/core";
import type { AppCompose } from "./app/app-compose.js";
import type { AppKeys } from "./app/app-keys.js";

/**
 * The identity this VM measured, after checking that everything tappd was given belongs to it.
 *
 * `system-ready` must already be in the log (E5): a quote made before it would get this app's keys from the KMS, and
 * the sockets give a quote to whoever asks.
 * @throws {InputError} `system-ready` is missing, or compose document or keys are another app's
 * @throws {EvidenceError} the log holds no complete identity
 */
export function requireBooted(eventLog: string, compose: AppCompose, keys: AppKeys): AppIdentity {
  const identity = readAppIdentity(parseEventLog(eventLog));
  if (!identity.systemReady) {
    throw new InputError(
      "the event log has no system-ready yet: a quote made now would release this app's keys",
    );
  }
  if (compose.hash !== identity.composeHash) {
    throw new InputError("the app-compose document is not the one that was measured");
  }
  if (keys.appId !== identity.appId || keys.instanceId !== identity.instanceId) {
    throw new InputError("the app keys belong to another app or instance than the one that was measured");
  }
  return identity;
}
