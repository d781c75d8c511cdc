import { parseAppId } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/auth.js";

/** Asks the KMS for the public key an app's environment is encrypted with. */
export const getAppEnvEncryptPubKey =
  ({
    envKeys,
  }: TeepodContext): Handler<typeof teepod.AppIdSchema, typeof teepod.PublicKeyResponseSchema, Caller> =>
  async ({ appId }, call) => ({ publicKey: await envKeys.envPublicKey(parseAppId(appId), call.signal) });
