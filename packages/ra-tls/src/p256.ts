import { createECDH, createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { InputError, hex } from "@dstack/core";

/** A P-256 key pair with the forms that are written down. */
export interface P256KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** PKCS#8 PEM. A secret. */
  readonly privateKeyPem: string;
  /** DER SubjectPublicKeyInfo, 91 bytes. */
  readonly publicKeySpki: Uint8Array;
}

/** Order n of the P-256 group (FIPS 186-5; SEC 2 §2.4.2). */
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** SubjectPublicKeyInfo of an uncompressed P-256 point, up to its 0x04 (RFC 5480 §2). 64 bytes of x and y follow. */
const P256_SPKI_PREFIX = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex");

/** Length of every P-256 SubjectPublicKeyInfo we accept, in bytes. */
export const P256_SPKI_BYTES = 91;

function pairOf(privateKey: KeyObject): P256KeyPair {
  if (privateKey.type !== "private" || privateKey.asymmetricKeyType !== "ec") {
    throw new InputError("private key must be a P-256 key");
  }
  if (privateKey.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
    throw new InputError("private key must be on the curve P-256");
  }
  const publicKey = createPublicKey(privateKey);
  return {
    privateKey,
    publicKey,
    privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicKeySpki: new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
  };
}

/** Makes a fresh P-256 key pair. */
export function generateP256(): P256KeyPair {
  return pairOf(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
}

/**
 * Reads a private key, PKCS#8 or SEC 1 PEM.
 * @throws {InputError} not a private key, encrypted, or not on P-256. The message never holds key material.
 */
export function loadP256(pem: string | KeyObject): P256KeyPair {
  if (typeof pem !== "string") return pairOf(pem);
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // OpenSSL's own error is dropped: it says nothing useful and must never quote a key file.
    throw new InputError("private key is not a PEM that can be read");
  }
  return pairOf(key);
}

/** True for a 32-byte big-endian integer in 1..n-1. */
export function isP256Scalar(scalar: Uint8Array): boolean {
  if (scalar.length !== 32) return false;
  const value = BigInt(`0x${hex(scalar)}`);
  return value > 0n && value < P256_ORDER;
}

/**
 * The key pair of a private scalar.
 * @param scalar 32 bytes, big-endian, in 1..n-1
 * @throws {InputError} out of range
 */
export function p256FromScalar(scalar: Uint8Array): P256KeyPair {
  if (!isP256Scalar(scalar)) throw new InputError("P-256 scalar must be 32 bytes in 1..n-1");
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(scalar);
  const point = ecdh.getPublicKey();
  const jwk = {
    kty: "EC",
    crv: "P-256",
    d: Buffer.from(scalar).toString("base64url"),
    x: point.subarray(1, 33).toString("base64url"),
    y: point.subarray(33, 65).toString("base64url"),
  };
  return pairOf(createPrivateKey({ key: jwk, format: "jwk" }));
}

/** The private scalar of a P-256 key: 32 bytes, big-endian. A secret. */
export function p256Scalar(key: KeyObject): Uint8Array {
  const { d } = pairOf(key).privateKey.export({ format: "jwk" });
  if (d === undefined) throw new InputError("private key has no scalar");
  const scalar = Buffer.from(d, "base64url");
  return new Uint8Array(Buffer.concat([Buffer.alloc(32 - scalar.length), scalar]));
}

/**
 * Checks that bytes are exactly the SubjectPublicKeyInfo of a point on P-256, uncompressed, and gives the key.
 * @throws {InputError} anything else
 */
export function parseP256Spki(spki: Uint8Array): KeyObject {
  const head = Buffer.from(spki.subarray(0, P256_SPKI_PREFIX.length));
  if (spki.length !== P256_SPKI_BYTES || !head.equals(P256_SPKI_PREFIX)) {
    throw new InputError("public key must be an uncompressed P-256 key");
  }
  try {
    return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch (err) {
    throw new InputError("public key is not a point on P-256", { cause: err });
  }
}
