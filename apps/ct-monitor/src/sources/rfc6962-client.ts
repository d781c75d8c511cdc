import { InputError } from "@dstack/core";
import { MAX_ENTRY_BYTES, parseTreeHead } from "@dstack/ct";
import type { TreeHead } from "@dstack/ct";
import { z } from "zod";
import { HttpError, getJson } from "../http.js";
import type { LogClient } from "./log-client.js";

/** As many as logs give at most at a time. */
const MAX_BATCH = 256;
const MAX_SMALL_BYTES = 64 * 1024;
/** Entries come in base64, with their chains in `extra_data`. */
const MAX_ENTRIES_BYTES = 64 * 2 ** 20;
const LIMIT_MS = 30_000;
const ENTRIES_LIMIT_MS = 120_000;

/** A path in a tree of 2^40 leaves has 40 hashes, a consistency proof one or two more. */
const MAX_PROOF = 64;

const path = z.array(z.string().max(64)).max(MAX_PROOF);
const Consistency = z.object({ consistency: path });
const Inclusion = z.object({ audit_path: path });
const Entries = z.object({
  entries: z.array(z.object({ leaf_input: z.string().max(Math.ceil(MAX_ENTRY_BYTES / 3) * 4) })),
});

const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));

/** A log with the interface of RFC 6962 §4. */
export class Rfc6962Client implements LogClient {
  constructor(
    /** `https://ct.example.com/2026h2`, without `/ct/v1`. */
    readonly url: string,
  ) {}

  async treeHead(signal: AbortSignal): Promise<TreeHead> {
    return parseTreeHead(await this.#get("get-sth", {}, signal));
  }

  async consistency(first: number, second: number, signal: AbortSignal): Promise<Uint8Array[]> {
    const answer = Consistency.parse(await this.#get("get-sth-consistency", { first, second }, signal));
    return answer.consistency.map(fromBase64);
  }

  async inclusion(
    leaf: Uint8Array,
    _index: number,
    size: number,
    signal: AbortSignal,
  ): Promise<Uint8Array[]> {
    const hash = Buffer.from(leaf).toString("base64");
    const answer = Inclusion.parse(await this.#get("get-proof-by-hash", { hash, tree_size: size }, signal));
    return answer.audit_path.map(fromBase64);
  }

  /** At most {@link MAX_BATCH}. */
  async entries(start: number, end: number, signal: AbortSignal): Promise<Uint8Array[]> {
    const count = Math.min(end - start, MAX_BATCH);
    let answer: unknown;
    try {
      answer = await this.#get("get-entries", { start, end: start + count - 1 }, signal);
    } catch (err) {
      // Big entries side by side must not stop us: somebody could put them there to that end.
      if (count === 1 || !(err instanceof HttpError && err.code === "too_large")) throw err;
      return this.entries(start, start + Math.ceil(count / 8), signal);
    }
    const { entries } = Entries.parse(answer);
    if (entries.length === 0)
      throw new InputError(`${this.url} gives no entry ${start} although it signed it`);
    return entries.slice(0, count).map(({ leaf_input: leaf }) => fromBase64(leaf));
  }

  #get(method: string, query: Record<string, string | number>, signal: AbortSignal): Promise<unknown> {
    const parameters = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    const entries = method === "get-entries";
    return getJson(`${this.url}/ct/v1/${method}${parameters.length > 0 ? `?${parameters.join("&")}` : ""}`, {
      maxBytes: entries ? MAX_ENTRIES_BYTES : MAX_SMALL_BYTES,
      limitMs: entries ? ENTRIES_LIMIT_MS : LIMIT_MS,
      signal,
    });
  }
}
