import { X509Certificate, sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { InputError, concatBytes, fromHex, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";

/** Nothing else the root key signs begins so. */
const TAG = utf8("dstack-env-encrypt-pubkey-v1:");
const SIGNATURE_BYTES = 64;

/** Tag, app id (20 bytes), X25519 key (32 bytes): all of fixed length, so no two pairs give the same text. */
function statement(appId: AppId, publicKey: Uint8Array): Uint8Array {
  if (publicKey.length !== 32) throw new InputError("X25519 public key must be 32 bytes");
  return concatBytes(TAG, fromHex(appId, "app id", 20), publicKey);
}

/**
 * The KMS root's word that an environment for this app may be encrypted to this key (wire.md
 * `GetAppEnvEncryptPubKey`). An app has one such key for ever, so it carries no time: an old answer is as true as a
 * new one.
 * @returns ECDSA P-256 with SHA-256, r and s of 32 bytes each
 */
export function signEnvKey(rootKey: KeyObject, appId: AppId, publicKey: Uint8Array): Uint8Array {
  const text = statement(appId, publicKey);
  return new Uint8Array(sign("sha256", text, { key: rootKey, dsaEncoding: "ieee-p1363" }));
}

/**
 * Checks that a key came from the KMS one knows: whoever carries the answer could put a key of its own in its place
 * and read what is encrypted to it (K7).
 * @param rootCaPem the KMS root CA certificate, from somewhere else than the answer
 * @throws {InputError} it did not
 */
export function requireEnvKeyOfKms(
  rootCaPem: string,
  appId: AppId,
  answer: { readonly publicKey: Uint8Array; readonly rootSignature: Uint8Array },
): void {
  if (answer.rootSignature.length === 0)
    throw new InputError(
      "the key for the environment is not signed: the KMS or teepod is older than such signatures",
    );
  const key = { key: new X509Certificate(rootCaPem).publicKey, dsaEncoding: "ieee-p1363" } as const;
  const text = statement(appId, answer.publicKey);
  if (answer.rootSignature.length !== SIGNATURE_BYTES || !verify("sha256", text, key, answer.rootSignature))
    throw new InputError(
      "the key for the environment is not signed by that KMS for that app: nothing was encrypted to it",
    );
}
