import { X509Certificate } from "node:crypto";
import { InputError, hex, sha256 } from "@dstack/core";
import type { kms } from "@dstack/proto";
import { CertLogEntry } from "./entry.js";
import { verifyLogHead } from "./log-head.js";
import { leafHash, verifyConsistency, verifyInclusion } from "@dstack/ct";

/** What {@link checkInclusion} found out. */
export interface LoggedCertificate {
  readonly entry: CertLogEntry;
  readonly index: number;
  readonly size: number;
}

/**
 * Checks, as an outsider with nothing but the KMS's root certificate can, that a certificate is in its issue log.
 * @throws {InputError} it is not shown to be
 */
export function checkInclusion(
  proof: kms.InclusionProof,
  certificate: X509Certificate,
  root: X509Certificate,
): LoggedCertificate {
  const { size, rootHash } = checkHead(proof.head, root);
  const index = Number(proof.index);
  const leaf = leafHash(proof.entry);
  if (!verifyInclusion({ leaf, index, size, path: proof.path, root: rootHash })) {
    throw new InputError("the proof does not lead from the entry to the signed root of the log");
  }
  const entry = readEntry(proof.entry);
  const digest = hex(sha256(certificate.raw));
  if (hex(sha256(Buffer.from(entry.certificate, "base64"))) !== digest) {
    throw new InputError("the entry is of another certificate");
  }
  return { entry, index, size };
}

/**
 * Checks that nothing of an earlier log was changed or cut off.
 * @throws {InputError} it is not shown
 */
export function checkConsistency(
  earlier: kms.LogHead,
  proof: kms.ConsistencyProof,
  root: X509Certificate,
): { oldSize: number; size: number } {
  const old = checkHead(earlier, root);
  const { size, rootHash } = checkHead(proof.head, root);
  const { path } = proof;
  const consistent = verifyConsistency({
    oldSize: old.size,
    oldRoot: old.rootHash,
    size,
    root: rootHash,
    path,
  });
  if (!consistent) throw new InputError("the log of today does not continue the log of the earlier head");
  return { oldSize: old.size, size };
}

function checkHead(
  head: kms.LogHead | undefined,
  root: X509Certificate,
): { size: number; rootHash: Uint8Array } {
  if (head === undefined) throw new InputError("the proof has no head");
  if (!verifyLogHead(head, root.publicKey)) {
    throw new InputError("the head of the log is not signed by this root CA");
  }
  return { size: Number(head.size), rootHash: head.rootHash };
}

function readEntry(json: string): CertLogEntry {
  const entry = CertLogEntry.safeParse(JSON.parse(json));
  if (!entry.success) throw new InputError("the entry is not one of an issue log");
  return entry.data;
}
