import type { X509Certificate } from "node:crypto";
import { CodedError, errorMessage, hex, sameBytes, x509FromDer } from "@dstack/core";
import type { AppId } from "@dstack/core";
import type { kms } from "@dstack/proto";
import { loadP256, pemToDer, readAppId } from "@dstack/ra-tls";
import type { Identity } from "./identity.js";

/** The KMS's answer is not what a guest can work with. Never holds a key. */
export class AppKeysError extends CodedError<"app_keys_invalid"> {
  override name = "AppKeysError";
  constructor(message: string) {
    super("app_keys_invalid", `keys from the KMS: ${message}`);
  }
}

/** What the KMS gave, checked. Secrets: never logged. */
export interface AppKeys {
  /** PKCS#8 PEM, P-256: the key of the app's own CA. */
  readonly appKey: string;
  readonly diskKey: Uint8Array;
  /** X25519 secret, 32 bytes. */
  readonly envKey: Uint8Array;
  /** PEM, the app's CA first. */
  readonly certificateChain: readonly string[];
  readonly k256Key: Uint8Array;
  readonly k256Signature: Uint8Array;
}

/** The app's CA, and the root it hangs from. */
const MAX_CHAIN = 2;
/** As many bytes as AES-256 takes; PKCS#8 DER in mode `seed` has more. */
const MIN_DISK_KEY_BYTES = 32;
const MAX_DISK_KEY_BYTES = 1024;

/**
 * Checks that the answer belongs together, is for this app, and comes from the CA that was measured as `ca-cert-hash`.
 * The CA of another app is below the same root and could issue a CA in any name: only what the root itself issued for
 * our id counts.
 * @param caPem the KMS root CA
 * @param appId what this guest measured as `app-id`
 * @param now Unix milliseconds
 * @throws {AppKeysError}
 */
export function checkAppKeys(answer: kms.AppKeyResponse, caPem: string, appId: AppId, now: number): AppKeys {
  const { appKey, diskCryptKey, envCryptKey, certificateChain } = answer;
  if (diskCryptKey.length < MIN_DISK_KEY_BYTES || diskCryptKey.length > MAX_DISK_KEY_BYTES) {
    throw new AppKeysError(`a disk key of ${diskCryptKey.length} bytes`);
  }
  if (envCryptKey.length !== 32) throw new AppKeysError(`an environment key of ${envCryptKey.length} bytes`);
  const hasK256 = answer.k256Key.length === 32 && answer.k256Signature.length === 65;
  if (!hasK256 && answer.k256Key.length + answer.k256Signature.length > 0) {
    throw new AppKeysError("a secp256k1 key or signature of a wrong length");
  }
  checkChain(certificateChain, { appKey, caPem, appId, now });
  return {
    appKey,
    diskKey: diskCryptKey,
    envKey: envCryptKey,
    certificateChain,
    k256Key: answer.k256Key,
    k256Signature: answer.k256Signature,
  };
}

function checkChain(
  chain: readonly string[],
  expected: { appKey: string; caPem: string; appId: AppId; now: number },
): void {
  const [leaf, above] = chain.map(readCertificate);
  if (leaf === undefined || chain.length > MAX_CHAIN) {
    throw new AppKeysError(`a chain of ${chain.length} certificates`);
  }
  const root = readCertificate(expected.caPem);
  if (above !== undefined && !sameBytes(new Uint8Array(above.raw), new Uint8Array(root.raw))) {
    throw new AppKeysError("the chain ends at another certificate than the measured CA");
  }
  if (!leaf.checkPrivateKey(readKey(expected.appKey))) {
    throw new AppKeysError("the app key does not belong to the first certificate of the chain");
  }
  if (!leaf.ca) throw new AppKeysError("the first certificate of the chain is not a CA certificate");
  if (!leaf.checkIssued(root) || !leaf.verify(root.publicKey)) {
    throw new AppKeysError("the first certificate of the chain is not signed by the measured CA");
  }
  for (const certificate of [leaf, root]) {
    if (expected.now < Date.parse(certificate.validFrom) || expected.now > Date.parse(certificate.validTo)) {
      throw new AppKeysError("a certificate of the chain is not valid now");
    }
  }
  if (appIdIn(leaf) !== expected.appId) {
    throw new AppKeysError("the first certificate of the chain was not issued for this app");
  }
}

function appIdIn(certificate: X509Certificate): AppId | undefined {
  try {
    return readAppId(new Uint8Array(certificate.raw));
  } catch (err) {
    throw new AppKeysError(errorMessage(err));
  }
}

function readCertificate(pem: string): X509Certificate {
  try {
    return x509FromDer(pemToDer(pem));
  } catch (err) {
    throw new AppKeysError(errorMessage(err));
  }
}

function readKey(pem: string): ReturnType<typeof loadP256>["privateKey"] {
  try {
    return loadP256(pem).privateKey;
  } catch (err) {
    throw new AppKeysError(errorMessage(err));
  }
}

/** The keys file tappd reads. The disk key and the environment key are not for it. */
export function keysFile(keys: AppKeys, identity: Identity): string {
  return JSON.stringify({
    app_id: identity.appId,
    instance_id: identity.instanceId,
    app_key: keys.appKey,
    certificate_chain: keys.certificateChain,
    k256_key: hex(keys.k256Key),
    k256_signature: hex(keys.k256Signature),
  });
}
