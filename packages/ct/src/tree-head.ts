import { createPublicKey, verify } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { InputError, concatBytes, sha256 } from "@dstack/core";

/** The largest tree we reckon with; numbers up to here are exact, and no log has come near. */
export const MAX_TREE_SIZE = 2 ** 40;

/** What a log vouches for (RFC 6962 §3.5). */
export interface TreeHead {
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
  /** Unix milliseconds, by the log's clock. */
  readonly timestamp: number;
  /** TLS `digitally-signed`: hash, kind of signature, length, signature. */
  readonly signature: Uint8Array;
}

const SHA256 = 4;
const RSA = 1;
const ECDSA = 3;
const TREE_HASH = 1;

/**
 * Reads the answer of `get-sth` (RFC 6962 §4.3).
 * @throws {InputError} not of that form
 */
export function parseTreeHead(answer: unknown): TreeHead {
  const fields = (typeof answer === "object" && answer !== null ? answer : {}) as Record<string, unknown>;
  const { tree_size: size, timestamp, sha256_root_hash: root, tree_head_signature: signature } = fields;
  if (!isCount(size) || size > MAX_TREE_SIZE) throw new InputError("tree head: tree_size is not a size");
  if (!isCount(timestamp)) throw new InputError("tree head: timestamp is not a time");
  if (typeof root !== "string" || typeof signature !== "string") {
    throw new InputError("tree head: root hash or signature is missing");
  }
  const rootBytes = new Uint8Array(Buffer.from(root, "base64"));
  if (rootBytes.length !== 32) throw new InputError("tree head: the root hash has not 32 bytes");
  return { size, timestamp, root: rootBytes, signature: new Uint8Array(Buffer.from(signature, "base64")) };
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** What is signed (RFC 6962 §3.5): version 1, tree hash, timestamp, size, root. */
export function signedTreeHead({ size, root, timestamp }: Omit<TreeHead, "signature">): Uint8Array {
  const head = Buffer.alloc(18);
  head.writeUInt8(0, 0);
  head.writeUInt8(TREE_HASH, 1);
  head.writeBigUInt64BE(BigInt(timestamp), 2);
  head.writeBigUInt64BE(BigInt(size), 10);
  return concatBytes(head, root);
}

/** Whether the log with this key signed the head: ECDSA or RSA with SHA-256, the only ones RFC 6962 §2.1.4 knows. */
export function verifyTreeHead(head: TreeHead, logKey: KeyObject): boolean {
  const { signature } = head;
  if (signature.length < 4) return false;
  const view = new DataView(signature.buffer, signature.byteOffset);
  const kind = logKey.asymmetricKeyType === "rsa" ? RSA : ECDSA;
  if (view.getUint8(0) !== SHA256 || view.getUint8(1) !== kind) return false;
  if (view.getUint16(2) !== signature.length - 4) return false;
  return verify("sha256", signedTreeHead(head), logKey, signature.subarray(4));
}

/**
 * A log's public key and its id, which is the key's SHA-256 (RFC 6962 §3.2).
 * @param base64 DER SubjectPublicKeyInfo, as log lists have it
 * @throws {InputError} no EC P-256 or RSA key
 */
export function logIdOf(base64: string): { key: KeyObject; id: Uint8Array } {
  const der = Buffer.from(base64, "base64");
  let key: KeyObject;
  try {
    key = createPublicKey({ key: der, format: "der", type: "spki" });
  } catch (err) {
    throw new InputError("the log's public key is not a SubjectPublicKeyInfo in base64", { cause: err });
  }
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType !== "rsa" && curve !== "prime256v1") {
    throw new InputError("the log's public key is neither RSA nor on P-256");
  }
  return { key, id: sha256(der) };
}
