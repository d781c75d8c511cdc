import { InputError } from "@dstack/core";
import { MAX_ENTRY_BYTES, parseTreeHead } from "@dstack/ct";
import type { TreeHead } from "@dstack/ct";
import { z } from "zod";
import { HttpError, getJson } from "../http.js";

/** As many as logs give at most at a time. */
export const MAX_BATCH = 256;
const MAX_SMALL_BYTES = 64 * 1024;
/** Entries come in base64, with their chains in `extra_data`. */
const MAX_ENTRIES_BYTES = 64 * 2 ** 20;
const LIMIT_MS = 30_000;
const ENTRIES_LIMIT_MS = 120_000;

/** A path in a tree of 2^40 leaves has 40 hashes, a consistency proof one or two more. */
const MAX_PROOF = 64;

const path = z.array(z.string().max(64)).max(MAX_PROOF);
const Consistency = z.object({ consistency: path });
const Inclusion = z.object({ leaf_index: z.int().min(0), audit_path: path });
const Entries = z.object({
  entries: z.array(z.object({ leaf_input: z.string().max(Math.ceil(MAX_ENTRY_BYTES / 3) * 4) })),
});

const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "base64"));

/** The questions of RFC 6962 §4 that a monitor asks. Answers are bounded and in form; nothing of them is verified. */
export class LogClient {
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
    leafHash: Uint8Array,
    treeSize: number,
    signal: AbortSignal,
  ): Promise<{ index: number; path: Uint8Array[] }> {
    const hash = Buffer.from(leafHash).toString("base64");
    const answer = Inclusion.parse(
      await this.#get("get-proof-by-hash", { hash, tree_size: treeSize }, signal),
    );
    return { index: answer.leaf_index, path: answer.audit_path.map(fromBase64) };
  }

  /**
   * Leaves from `start` on, at least one and at most {@link MAX_BATCH}; a log may give fewer than asked for.
   * @param end after the last one wanted
   */
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
