import {
  TILE_WIDTH,
  consistencyPathFromTiles,
  inclusionPathFromTiles,
  originOf,
  parseCheckpoint,
  parseDataTile,
  tilePath,
  tileWidth,
} from "@dstack/ct";
import type { ReadTile, TreeHead } from "@dstack/ct";
import { HttpError, getBytes } from "../http.js";
import type { LogClient } from "./log-client.js";

const MAX_CHECKPOINT_BYTES = 64 * 1024;
const HASH_BYTES = 32;
/** 256 certificates with their precertificates, each far larger than logs take them. */
const MAX_ENTRIES_BYTES = 128 * 2 ** 20;
const LIMIT_MS = 30_000;
const ENTRIES_LIMIT_MS = 120_000;

/**
 * A tiled log (c2sp.org/static-ct-api): files, of which proofs are made here. The log vouches for none of them but the
 * checkpoint; a false one gives a proof that does not hold.
 */
export class TiledClient implements LogClient {
  readonly #log: { readonly origin: string; readonly id: Uint8Array };

  constructor(
    private readonly monitoringUrl: string,
    submissionUrl: string,
    logId: Uint8Array,
  ) {
    this.#log = { origin: originOf(submissionUrl), id: logId };
  }

  async treeHead(signal: AbortSignal): Promise<TreeHead> {
    const question = { maxBytes: MAX_CHECKPOINT_BYTES, limitMs: LIMIT_MS, signal };
    const bytes = await getBytes(`${this.monitoringUrl}/checkpoint`, question);
    return parseCheckpoint(Buffer.from(bytes).toString("utf8"), this.#log);
  }

  consistency(first: number, second: number, signal: AbortSignal): Promise<Uint8Array[]> {
    return consistencyPathFromTiles(first, second, this.#hashes(signal));
  }

  inclusion(_leaf: Uint8Array, index: number, size: number, signal: AbortSignal): Promise<Uint8Array[]> {
    return inclusionPathFromTiles(index, size, this.#hashes(signal));
  }

  /** Those of one tile. */
  async entries(start: number, end: number, signal: AbortSignal): Promise<Uint8Array[]> {
    const index = Math.floor(start / TILE_WIDTH);
    const question = { maxBytes: MAX_ENTRIES_BYTES, limitMs: ENTRIES_LIMIT_MS, signal };
    const { bytes, width } = await this.#tile("data", index, tileWidth(0, index, end), question);
    const first = index * TILE_WIDTH;
    return parseDataTile(bytes, width).slice(start - first, end - first);
  }

  #hashes(signal: AbortSignal): ReadTile {
    const question = { maxBytes: TILE_WIDTH * HASH_BYTES, limitMs: LIMIT_MS, signal };
    return async (level, index, width) => {
      const { bytes } = await this.#tile(level, index, width, question);
      return bytes.subarray(0, width * HASH_BYTES);
    };
  }

  /** A partial tile may be gone once the full one is there. */
  async #tile(
    level: number | "data",
    index: number,
    width: number,
    question: Parameters<typeof getBytes>[1],
  ): Promise<{ bytes: Uint8Array; width: number }> {
    const get = (w: number): Promise<Uint8Array> =>
      getBytes(`${this.monitoringUrl}/${tilePath(level, index, w)}`, question);
    try {
      return { bytes: await get(width), width };
    } catch (err) {
      const gone = err instanceof HttpError && err.code === "status" && width < TILE_WIDTH;
      if (!gone) throw err;
      return { bytes: await get(TILE_WIDTH), width: TILE_WIDTH };
    }
  }
}
