import { readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import type { PeerStatus } from "@dstack/wireguard-tools-wrapper";
import { z } from "zod";

/** 65,536 peers. */
const MAX_FILE_BYTES = 8 * 2 ** 20;

const EndpointFile = z.record(z.string(), z.string());

/**
 * Where each peer was last heard. An interface made anew knows its peers but not where they are, and a guest that only
 * keeps its session alive notices after two minutes; with this we can call it.
 */
export class EndpointMemory {
  #endpoints: ReadonlyMap<string, string>;

  private constructor(
    readonly path: string,
    endpoints: ReadonlyMap<string, string>,
  ) {
    this.#endpoints = endpoints;
  }

  /** Where nothing usable is remembered it begins empty: it only saves time. */
  static async open(path: string): Promise<EndpointMemory> {
    try {
      const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
      const file =
        bytes === undefined ? {} : EndpointFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
      return new EndpointMemory(path, new Map(Object.entries(file)));
    } catch {
      return new EndpointMemory(path, new Map());
    }
  }

  /** Those of these peers that have no endpoint now but had one, with that one. */
  lost(peers: readonly PeerStatus[]): ReadonlyMap<string, string> {
    const found = peers.flatMap(({ publicKey, endpoint }): [string, string][] => {
      const known = this.#endpoints.get(publicKey);
      return endpoint === undefined && known !== undefined ? [[publicKey, known]] : [];
    });
    return new Map(found);
  }

  /** Keeps the endpoints of these peers, and forgets peers that are gone. */
  async update(peers: readonly PeerStatus[]): Promise<void> {
    const next = new Map<string, string>();
    for (const { publicKey, endpoint } of peers) {
      const kept = endpoint ?? this.#endpoints.get(publicKey);
      if (kept !== undefined) next.set(publicKey, kept);
    }
    const same =
      next.size === this.#endpoints.size && [...next].every(([k, v]) => this.#endpoints.get(k) === v);
    if (same) return;
    this.#endpoints = next;
    await writeFileAtomic(this.path, `${JSON.stringify(Object.fromEntries(next))}\n`, { mode: 0o600 });
  }
}
