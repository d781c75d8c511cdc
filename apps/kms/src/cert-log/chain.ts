import { CodedError, hex, sha256 } from "@dstack/core";
import { z } from "zod";

/** The issue log cannot be trusted or cannot be written. */
export class CertLogError extends CodedError<"broken_chain" | "foreign_writer" | "write_failed" | "failed"> {
  override name = "CertLogError";
}

/** Hash before the first entry. */
export const GENESIS = "0".repeat(64);

const HASH_CHARS = 64;

/** Longest line: a certificate takes about 1 KB. Bounds the memory that reading a log takes. */
export const MAX_LINE_BYTES = 64 * 1024;

const hash = z.string().regex(/^[0-9a-f]{64}$/);

/** One issued certificate, as the log keeps it. */
export const CertLogEntry = z.strictObject({
  /** From 0, without gaps. */
  seq: z.int().min(0),
  /** Hash of the entry before. */
  prev: hash,
  /** ISO 8601, UTC. */
  at: z.iso.datetime(),
  /** `root-handover`: the root key went to a replica; the certificate is the root's. */
  kind: z.enum(["app-ca", "root-ca", "server", "root-handover"]),
  subject: z.string(),
  /** Base64 of the certificate's DER. */
  certificate: z.base64(),
  app_id: z.string().optional(),
  instance_id: z.string().optional(),
  compose_hash: z.string().optional(),
  /** `simulated`: no hardware stands behind the evidence it was issued for. */
  anchor: z.string().optional(),
  tcb_status: z.string().optional(),
});
export type CertLogEntry = z.infer<typeof CertLogEntry>;

/** Where a log ends: what the next entry follows. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
}

export const EMPTY_CHAIN: ChainHead = { seq: -1, hash: GENESIS };

/**
 * The line of an entry: its hash, a space, its JSON, a newline. The hash is over the JSON's very bytes, and the JSON
 * names the hash before it: nobody has to agree on a canonical form to check the chain.
 */
export function lineOf(entry: CertLogEntry): { line: string; hash: string } {
  const json = JSON.stringify(entry);
  const digest = hashOfJson(json);
  return { line: `${digest} ${json}\n`, hash: digest };
}

function hashOfJson(json: string): string {
  return hex(sha256("dstack-cert-log-v1:", json));
}

/** The JSON text of a line. */
export function jsonOf(line: string): string {
  return line.slice(HASH_CHARS + 1).trimEnd();
}

/**
 * Checks that a line follows the chain's head.
 * @param line without its newline
 * @throws {CertLogError} `broken_chain`
 */
export function follow(head: ChainHead, line: string): { entry: CertLogEntry; head: ChainHead } {
  const number = head.seq + 1;
  const broken = (why: string): CertLogError =>
    new CertLogError("broken_chain", `entry ${number} ${why}`, { seq: number });
  const [, digest, json] = /^([0-9a-f]{64}) (.*)$/s.exec(line) ?? [];
  if (digest === undefined || json === undefined) throw broken("is malformed");
  if (hashOfJson(json) !== digest) throw broken("was changed");
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw broken("is malformed");
  }
  const entry = CertLogEntry.safeParse(value);
  if (!entry.success) throw broken("is malformed");
  if (entry.data.seq !== number || entry.data.prev !== head.hash)
    throw broken("does not follow the one before it");
  return { entry: entry.data, head: { seq: number, hash: digest } };
}
