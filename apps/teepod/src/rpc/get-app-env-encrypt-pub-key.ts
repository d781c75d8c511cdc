import { parseAppId } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

/**
 * Asks the KMS for the public key an app's environment is encrypted with. The signature is passed on: whoever
 * encrypts checks it against the KMS root CA they know, not against the one named here (K7).
 */
export const getAppEnvEncryptPubKey =
  ({
    envKeys,
    vms,
  }: TeepodContext): Handler<typeof teepod.AppIdSchema, typeof teepod.PublicKeyResponseSchema, Caller> =>
  async ({ appId }, call) => ({
    ...(await envKeys.envKey(parseAppId(appId), call.signal)),
    kmsCaCert: vms.parts.material.certificates.caCert,
  });
