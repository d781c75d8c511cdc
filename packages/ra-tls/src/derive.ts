import { createPrivateKey, createPublicKey, hkdfSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { InputError, concatBytes, utf8 } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { isP256Scalar, p256FromScalar, p256Scalar } from "./p256.js";
import type { P256KeyPair } from "./p256.js";

// FROZEN. Every byte that goes into a derivation here decides over deployed keys and disks: docs/attestation.md,
// "Keys", and the vectors of this package. A new derivation gets a new function with length-prefixed contexts.

const SALT = utf8("RATLS");

/** Called when a derived value was no P-256 scalar and another one is derived. Probability about 2^-32. */
export type OnRetry = (attempt: number) => void;

/** HKDF-SHA256 (RFC 5869) with the seed's salt; the contexts are concatenated. 32 bytes. */
export function ratlsHkdf(inputKey: Uint8Array, contexts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", inputKey, SALT, concatBytes(...contexts), 32));
}

/**
 * The first usable P-256 scalar of a sequence of derivations.
 * @param derive gives 32 bytes; attempt 0 has no counter context
 */
export function firstScalar(
  derive: (counter: readonly Uint8Array[]) => Uint8Array,
  onRetry?: OnRetry,
): Uint8Array {
  for (let attempt = 0; ; attempt++) {
    const scalar = derive(attempt === 0 ? [] : [utf8(`counter-${attempt}`)]);
    if (isP256Scalar(scalar)) return scalar;
    onRetry?.(attempt + 1);
  }
}

function deriveP256(parent: KeyObject, contexts: readonly string[], onRetry?: OnRetry): P256KeyPair {
  const input = p256Scalar(parent);
  const base = contexts.map(utf8);
  return p256FromScalar(firstScalar((counter) => ratlsHkdf(input, [...base, ...counter]), onRetry));
}

/** The P-256 key of an app, from the KMS root key. */
export function deriveAppKey(root: KeyObject, appId: AppId, onRetry?: OnRetry): P256KeyPair {
  return deriveP256(root, [appId, "app-key"], onRetry);
}

export type DiskKeyContext =
  /** 32 bytes; an image upgrade keeps the disk. */
  | { readonly mode: "v1"; readonly appId: AppId; readonly instanceId: InstanceId }
  /** As the original did: bound to the image; the key is the PKCS#8 DER (138 bytes) of the derived P-256 key. */
  | {
      readonly mode: "seed";
      readonly rootfsHash: string;
      readonly appId: AppId;
      readonly instanceId: InstanceId;
    };

/**
 * The key of an instance's data disk, from the KMS root key.
 * @throws {InputError} mode `seed` with a root file system hash that is not 64 lower-case hex digits
 */
export function deriveDiskKey(root: KeyObject, context: DiskKeyContext, onRetry?: OnRetry): Uint8Array {
  const { appId, instanceId } = context;
  if (context.mode === "v1") {
    return p256Scalar(deriveP256(root, [appId, instanceId, "app-disk-crypt-key"], onRetry).privateKey);
  }
  if (!/^[0-9a-f]{64}$/.test(context.rootfsHash)) {
    throw new InputError("rootfs hash must be 64 lower-case hex digits");
  }
  const pair = deriveP256(root, [context.rootfsHash, appId, instanceId, "app-disk-crypt-key"], onRetry);
  return new Uint8Array(pair.privateKey.export({ type: "pkcs8", format: "der" }));
}

/** The X25519 secret (32 bytes) to whose public key an app's environment is encrypted, from the KMS root key. */
export function deriveEnvKey(root: KeyObject, appId: AppId): Uint8Array {
  return ratlsHkdf(p256Scalar(root), [utf8(appId), utf8("env-encrypt-key")]);
}

/** PKCS#8 of an X25519 key up to its 32 secret bytes (RFC 8410 §7). */
const X25519_PKCS8_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");

/** @throws {InputError} not 32 bytes */
export function x25519Private(secret: Uint8Array): KeyObject {
  if (secret.length !== 32) throw new InputError("X25519 secret must be 32 bytes");
  const der = Buffer.concat([X25519_PKCS8_PREFIX, secret]);
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

/** The public key (32 bytes) of an X25519 secret. @throws {InputError} not 32 bytes */
export function x25519PublicKey(secret: Uint8Array): Uint8Array {
  const spki = createPublicKey(x25519Private(secret)).export({ type: "spki", format: "der" });
  return new Uint8Array(spki.subarray(spki.length - 32));
}

/** The P-256 key behind `Tappd.DeriveKey`: the path as it came is the only context. */
export function deriveKeyFromApp(appKey: KeyObject, path: string, onRetry?: OnRetry): P256KeyPair {
  return deriveP256(appKey, [path], onRetry);
}
