import { parseAppId } from "@dstack/core";
import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import { deriveEnvKey, x25519PublicKey } from "@dstack/ra-tls";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { KmsContext } from "../context.js";

type Method = (typeof kms.KMS)["method"]["getAppEnvEncryptPubKey"];

/** `KMS.GetAppEnvEncryptPubKey`: anyone may encrypt to an app, so anyone may ask. */
export const getAppEnvEncryptPubKey =
  (context: KmsContext): Handler<Method["input"], Method["output"], VerifiedPeer> =>
  async (request) => {
    const appId = parseAppId(request.appId);
    return { publicKey: x25519PublicKey(deriveEnvKey(context.root.ca.key, appId)) };
  };
