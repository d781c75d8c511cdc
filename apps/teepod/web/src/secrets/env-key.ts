import { p256 } from "@noble/curves/nist.js";
import { concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { readRootCertificate } from "./certificate.js";
import { call } from "../api.js";

/** An app's key for its secrets, signed by the KMS root of that fingerprint. */
export interface EnvKey {
  readonly publicKey: Uint8Array;
  readonly fingerprint: string;
}

interface Answer {
  /** Hex. */
  readonly public_key: string;
  /** Hex. */
  readonly root_signature: string;
  readonly kms_ca_cert: string;
}

const TAG = "dstack-env-encrypt-pubkey-v1:";

/**
 * Checks what `GetAppEnvEncryptPubKey` answered (K7), as `requireEnvKeyOfKms` of `@dstack/ra-tls` does. Whether the
 * root is the right one is for people to say: its fingerprint is shown.
 * @throws {Error} in words
 */
export function checkEnvKey(appId: string, answer: Answer): EnvKey {
  if (answer.root_signature === "")
    throw new Error("The KMS did not sign the key for secrets: it is too old for it.");
  const root = readRootCertificate(answer.kms_ca_cert);
  const publicKey = hexToBytes(answer.public_key);
  const signed = concatBytes(utf8ToBytes(TAG), hexToBytes(appId), publicKey);
  const genuine =
    publicKey.length === 32 &&
    answer.root_signature.length === 128 &&
    p256.verify(hexToBytes(answer.root_signature), signed, root.publicKey, { lowS: false });
  if (!genuine) throw new Error("The key for secrets is not signed by the KMS: nothing is encrypted to it.");
  return { publicKey, fingerprint: root.fingerprint };
}

/** Fetches an app's key through teepod and checks it. @throws {Error} in words */
export async function fetchEnvKey(appId: string): Promise<EnvKey> {
  return checkEnvKey(appId, await call<Answer>("GetAppEnvEncryptPubKey", { app_id: appId }));
}
