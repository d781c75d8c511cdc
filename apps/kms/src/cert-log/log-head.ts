import { sign, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { concatBytes, utf8 } from "@dstack/core";
import type { MerkleTree } from "@dstack/ct";

/** The state of an issue log, as the KMS vouches for it. */
export interface LogHead {
  readonly size: bigint;
  readonly rootHash: Uint8Array;
  /** Unix seconds. */
  readonly signedAt: bigint;
  /** ECDSA (DER) with SHA-256. */
  readonly signature: Uint8Array;
}

/** No certificate begins so: what the root key signs here is never taken for one. */
const TAG = utf8("dstack-cert-log-head-v1:");

/** Tag, size, time (8 bytes each, big-endian), root hash. */
function signedText(head: Pick<LogHead, "size" | "signedAt" | "rootHash">): Uint8Array {
  const numbers = Buffer.alloc(16);
  numbers.writeBigUInt64BE(head.size, 0);
  numbers.writeBigUInt64BE(head.signedAt, 8);
  return concatBytes(TAG, numbers, head.rootHash);
}

/** @param now Unix seconds */
export function signLogHead(tree: MerkleTree, key: KeyObject, now: number): LogHead {
  const head = { size: BigInt(tree.size), rootHash: tree.root(), signedAt: BigInt(now) };
  return { ...head, signature: new Uint8Array(sign("sha256", signedText(head), key)) };
}

/** Whether the root CA vouches for this head. */
export function verifyLogHead(head: LogHead, rootPublicKey: KeyObject): boolean {
  return verify("sha256", signedText(head), rootPublicKey, head.signature);
}
