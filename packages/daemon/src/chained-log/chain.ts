import { CodedError, hex, sha256 } from "@dstack/core";

/** A log cannot be trusted or cannot be written. */
export class ChainedLogError extends CodedError<
  "broken_chain" | "foreign_writer" | "write_failed" | "failed"
> {
  override name = "ChainedLogError";
}

/** Longest line. Bounds the memory that reading a log takes. */
export const MAX_LINE_BYTES = 64 * 1024;

const HASH_CHARS = 64;

/** What every entry says beside its own facts. */
export interface ChainLink {
  /** From 0, without gaps. */
  readonly seq: number;
  /** Hash of the entry before; of the first one, {@link EMPTY_CHAIN}'s. */
  readonly prev: string;
  /** ISO 8601, UTC. */
  readonly at: string;
}

/** Where a log ends: what the next entry follows. */
export interface ChainHead {
  readonly seq: number;
  readonly hash: string;
}

export const EMPTY_CHAIN: ChainHead = { seq: -1, hash: "0".repeat(HASH_CHARS) };

/** What a kind of log is: who wrote an entry for one must not have written it for another. */
export interface ChainFormat<T extends ChainLink> {
  /** In front of the text that is hashed, such as `dstack-cert-log-v1:`. */
  readonly context: string;
  /** Reads an entry's JSON value. @throws it is none */
  readonly parse: (value: unknown) => T;
}

/**
 * The line of an entry: its hash, a space, its JSON, a newline. The hash is over the JSON's very bytes, and the JSON
 * names the hash before it: nobody has to agree on a canonical form to check the chain.
 */
export function lineOf(context: string, entry: ChainLink): { line: string; hash: string } {
  const json = JSON.stringify(entry);
  const digest = hex(sha256(context, json));
  return { line: `${digest} ${json}\n`, hash: digest };
}

/** The JSON text of a line. */
export function jsonOf(line: string): string {
  return line.slice(HASH_CHARS + 1).trimEnd();
}

/**
 * Checks that a line follows the chain's head.
 * @param line without its newline
 * @throws {ChainedLogError} `broken_chain`
 */
export function follow<T extends ChainLink>(
  { context, parse }: ChainFormat<T>,
  head: ChainHead,
  line: string,
): { entry: T; head: ChainHead } {
  const number = head.seq + 1;
  const broken = (why: string): ChainedLogError =>
    new ChainedLogError("broken_chain", `entry ${number} ${why}`, { seq: number });
  const [, digest, json] = /^([0-9a-f]{64}) (.*)$/s.exec(line) ?? [];
  if (digest === undefined || json === undefined) throw broken("is malformed");
  if (hex(sha256(context, json)) !== digest) throw broken("was changed");
  let entry: T;
  try {
    entry = parse(JSON.parse(json));
  } catch {
    throw broken("is malformed");
  }
  if (entry.seq !== number || entry.prev !== head.hash) throw broken("does not follow the one before it");
  return { entry, head: { seq: number, hash: digest } };
}
