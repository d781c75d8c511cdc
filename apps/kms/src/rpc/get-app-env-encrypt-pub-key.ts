import { parseAppId } from "@dstack/core";
import type { Handler } from "@dstack/prpc";
import type { kms } from "@dstack/proto";
import { deriveEnvKey, signEnvKey, x25519PublicKey } from "@dstack/ra-tls";
import type { VerifiedPeer } from "@dstack/ra-tls";
import type { KmsContext } from "../context.js";

type Method = (typeof kms.KMS)["method"]["getAppEnvEncryptPubKey"];

/**
 * `KMS.GetAppEnvEncryptPubKey`: anyone may encrypt to an app, so anyone may ask. The answer is signed, for it reaches
 * deployers through their host's teepod (K7).
 */
export const getAppEnvEncryptPubKey =
  (context: KmsContext): Handler<Method["input"], Method["output"], VerifiedPeer> =>
  async (request) => {
    const appId = parseAppId(request.appId);
    const rootKey = context.root.ca.key;
    const publicKey = x25519PublicKey(deriveEnvKey(rootKey, appId));
    return { publicKey, rootSignature: signEnvKey(rootKey, appId, publicKey) };
  };
