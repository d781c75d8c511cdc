/**
 * P-256 keys of the simulated platform: derived from its seed, with deterministic signatures (RFC 6979), so that two
 * processes with one seed make the same certificates byte for byte. Verifiers pin the root's digest, and OpenSSL's
 * random nonces would give every process another root.
 */
import { createECDH, createHmac, hkdfSync } from "node:crypto";
import { concatBytes, fromHex, hex, sha256, utf8 } from "@dstack/core";
import { bitString, integer, oid, sequence } from "./der.js";

/** The order of the P-256 group (SEC 2 §2.4.2). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const toBigInt = (bytes: Uint8Array): bigint => BigInt(`0x${hex(bytes)}`);
const toBytes = (value: bigint): Uint8Array => fromHex(value.toString(16).padStart(64, "0"));
const inRange = (value: bigint): boolean => value > 0n && value < ORDER;

const hmac = (key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array => {
  const mac = createHmac("sha256", key);
  for (const part of parts) mac.update(part);
  return new Uint8Array(mac.digest());
};

/** Inverse modulo the group order, by extended Euclid. */
function inverse(value: bigint): bigint {
  let [r0, r1, t0, t1] = [ORDER, value % ORDER, 0n, 1n];
  while (r1 > 0n) {
    const q = r0 / r1;
    [r0, r1] = [r1, r0 - q * r1];
    [t0, t1] = [t1, t0 - q * t1];
  }
  return ((t0 % ORDER) + ORDER) % ORDER;
}

/** x ‖ y of the scalar times the generator. */
function multiplyBase(scalar: bigint): Uint8Array {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(toBytes(scalar));
  return new Uint8Array(ecdh.getPublicKey().subarray(1));
}

/** The nonces of RFC 6979 §3.2 for SHA-256, in order; nearly always the first one serves. */
function* nonces(scalar: Uint8Array, digest: Uint8Array): Generator<bigint> {
  const hashed = toBytes(toBigInt(digest) % ORDER);
  let v: Uint8Array = new Uint8Array(32).fill(1);
  let k: Uint8Array = new Uint8Array(32);
  for (const step of [0, 1]) {
    k = hmac(k, v, Uint8Array.of(step), scalar, hashed);
    v = hmac(k, v);
  }
  for (;;) {
    v = hmac(k, v);
    const nonce = toBigInt(v);
    if (inRange(nonce)) yield nonce;
    k = hmac(k, v, Uint8Array.of(0));
    v = hmac(k, v);
  }
}

export class SigningKey {
  /** x ‖ y, 64 bytes. */
  readonly point: Uint8Array;
  /** SubjectPublicKeyInfo, DER, 91 bytes. */
  readonly spki: Uint8Array;
  readonly #scalar: bigint;

  private constructor(scalar: bigint) {
    this.#scalar = scalar;
    this.point = multiplyBase(scalar);
    this.spki = sequence(
      sequence(oid("1.2.840.10045.2.1"), oid("1.2.840.10045.3.1.7")),
      bitString(concatBytes(Uint8Array.of(4), this.point)),
    );
  }

  /** The key a seed has for one purpose. */
  static derive(seed: Uint8Array, purpose: string): SigningKey {
    for (let attempt = 0; ; attempt++) {
      const info = utf8(`dstack simulated platform: ${purpose}: ${attempt}`);
      const scalar = toBigInt(new Uint8Array(hkdfSync("sha256", seed, new Uint8Array(), info, 32)));
      if (inRange(scalar)) return new SigningKey(scalar);
    }
  }

  /** ECDSA with SHA-256: r ‖ s, 64 bytes. */
  sign(data: Uint8Array): Uint8Array {
    const digest = sha256(data);
    for (const nonce of nonces(toBytes(this.#scalar), digest)) {
      const r = toBigInt(multiplyBase(nonce).subarray(0, 32)) % ORDER;
      const s = (inverse(nonce) * (toBigInt(digest) + r * this.#scalar)) % ORDER;
      if (r !== 0n && s !== 0n) return concatBytes(toBytes(r), toBytes(s));
    }
    throw new Error("the nonces of RFC 6979 do not end");
  }

  /** ECDSA with SHA-256 as in X.509: SEQUENCE { r, s }. */
  signDer(data: Uint8Array): Uint8Array {
    const raw = this.sign(data);
    return sequence(integer(raw.subarray(0, 32)), integer(raw.subarray(32)));
  }
}
