import { hkdfSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { ed25519 } from "@noble/curves/ed25519.js";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { InputError, concatBytes, fromHex, hex, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { ratlsHkdf } from "./derive.js";
import { p256Scalar } from "./p256.js";

/** Curves of `DstackGuest.GetKey`. */
export type GuestKeyAlgorithm = "secp256k1" | "ed25519";

/** The secp256k1 key of an app, with the KMS's word for it. */
export interface AppK256Key {
  /** 32 bytes. A secret. */
  readonly key: Uint8Array;
  /** 65 bytes r ‖ s ‖ recovery id: the KMS root over `dstack-kms-issued:` ‖ app id (20 bytes) ‖ compressed public key. */
  readonly signature: Uint8Array;
}

/** Contexts of derivations that are ours carry their length, so that no two lists give the same bytes (K3). */
function lengthPrefixed(...contexts: readonly string[]): Uint8Array {
  const parts = contexts.flatMap((context) => {
    const bytes = utf8(context);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return [new Uint8Array(length), bytes];
  });
  return concatBytes(...parts);
}

function hkdf(input: Uint8Array, salt: string, info: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", input, salt, info, 32));
}

/** r ‖ s ‖ recovery id over keccak-256 of the message, as Ethereum tools recover it. 65 bytes. */
export function signRecoverable(message: Uint8Array, key: Uint8Array): Uint8Array {
  const signature = secp256k1.sign(keccak_256(message), key, { prehash: false, format: "recovered" });
  return concatBytes(signature.subarray(1), signature.subarray(0, 1));
}

/**
 * The compressed public key (33 bytes) whose owner made a {@link signRecoverable} signature.
 * @throws {InputError} not such a signature
 */
export function recoverSigner(message: Uint8Array, signature: Uint8Array): Uint8Array {
  if (signature.length !== 65) throw new InputError("recoverable signature must be 65 bytes");
  const reordered = concatBytes(signature.subarray(64), signature.subarray(0, 64));
  try {
    return secp256k1.recoverPublicKey(reordered, keccak_256(message), { prehash: false });
  } catch (err) {
    throw new InputError("recoverable signature is malformed", { cause: err });
  }
}

function k256Key(bytes: Uint8Array): Uint8Array {
  // Same odds as for P-256 scalars, and there is no counter in the published scheme: refuse.
  if (!secp256k1.utils.isValidSecretKey(bytes)) throw new InputError("derived value is not a secp256k1 key");
  return bytes;
}

/** The secp256k1 root of a KMS, from its P-256 root key. 32 bytes. The published KMS keeps a second root file instead. */
export function deriveK256Root(root: KeyObject): Uint8Array {
  return k256Key(hkdf(p256Scalar(root), "dstack-kms-v1", lengthPrefixed("k256-root-key")));
}

/** The compressed secp256k1 public key (33 bytes) of a secret. */
export function k256PublicKey(secret: Uint8Array): Uint8Array {
  return secp256k1.getPublicKey(secret, true);
}

function issuedMessage(appId: AppId, publicKey: Uint8Array): Uint8Array {
  return concatBytes(utf8("dstack-kms-issued:"), fromHex(appId, "app id", 20), publicKey);
}

/** An app's secp256k1 key and the root's signature over it, both as the published KMS makes them. */
export function deriveK256AppKey(k256Root: Uint8Array, appId: AppId): AppK256Key {
  const key = k256Key(ratlsHkdf(k256Root, [fromHex(appId, "app id", 20), utf8("app-key")]));
  return { key, signature: signRecoverable(issuedMessage(appId, k256PublicKey(key)), k256Root) };
}

/** The root (compressed public key) that signed an app's secp256k1 public key. @throws {InputError} malformed */
export function k256Issuer(appId: AppId, appPublicKey: Uint8Array, signature: Uint8Array): Uint8Array {
  return recoverSigner(issuedMessage(appId, appPublicKey), signature);
}

/** A key of `DstackGuest.GetKey` and its two-link chain: app key over this key, KMS root over the app key. */
export interface GuestKey {
  /** 32 bytes. A secret. */
  readonly key: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly signatureChain: readonly [Uint8Array, Uint8Array];
}

function chained(key: Uint8Array, app: AppK256Key, purpose: string, algorithm: GuestKeyAlgorithm): GuestKey {
  const publicKey = algorithm === "secp256k1" ? k256PublicKey(k256Key(key)) : ed25519.getPublicKey(key);
  const link = signRecoverable(utf8(`${purpose}:${hex(publicKey)}`), app.key);
  return { key, publicKey, signatureChain: [link, app.signature] };
}

/**
 * `v0`, what the published clients get: only the path is in the derivation, so both curves share 32 bytes. FROZEN.
 */
export function deriveGuestKeyV0(
  app: AppK256Key,
  request: { readonly path: string; readonly purpose: string; readonly algorithm: GuestKeyAlgorithm },
): GuestKey {
  return chained(ratlsHkdf(app.key, [utf8(request.path)]), app, request.purpose, request.algorithm);
}

/**
 * `v1`: path, purpose, algorithm and epoch are all in the derivation, each with its length. FROZEN.
 * @param request.epoch a whole number from 0; a higher one gives an independent key
 * @throws {InputError} the epoch is no such number
 */
export function deriveGuestKeyV1(
  app: AppK256Key,
  request: {
    readonly path: string;
    readonly purpose: string;
    readonly algorithm: GuestKeyAlgorithm;
    readonly epoch: number;
  },
): GuestKey {
  const { path, purpose, algorithm, epoch } = request;
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw new InputError("epoch must be a whole number from 0");
  const info = lengthPrefixed("guest-key", path, purpose, algorithm, String(epoch));
  return chained(hkdf(app.key, "dstack-guest-v1", info), app, purpose, algorithm);
}
