import type { KeyObject } from "node:crypto";
import { errorMessage, hex, sameBytes } from "@dstack/core";
import {
  CompactTree,
  leafHash,
  logIdOf,
  mentions,
  parseEntry,
  verifyConsistency,
  verifyInclusion,
  verifyTreeHead,
} from "@dstack/ct";
import type { TreeHead } from "@dstack/ct";
import type { LogPosition, MonitorState } from "../state.js";
import type { LogClient } from "./log-client.js";
import { Rfc6962Client } from "./rfc6962-client.js";
import { SourceLie } from "./source.js";
import type { Source, Watch } from "./source.js";
import { TiledClient } from "./tiled-client.js";

/** Entries are believed, and the place in the log is kept, after so many. */
const CHECKPOINT_ENTRIES = 4096;

/** How far a log's clock may be ahead of ours. */
const CLOCK_TOLERANCE_MS = 60 * 60_000;

export interface CtLogOptions {
  /** Where certificates are handed in. Logs of RFC 6962 are read there too. */
  readonly url: string;
  /** Where a tiled log is read. */
  readonly monitoringUrl: string | undefined;
  /** Base64 of its SubjectPublicKeyInfo, as log lists have it. */
  readonly publicKey: string;
  /** Maximum merge delay: a log signs a new head at least that often. */
  readonly mmdMs: number;
  /** Where to begin the first time. */
  readonly start: "now" | "beginning";
  readonly now: () => number;
}

/**
 * A log of RFC 6962 or a tiled one, read entry by entry. Nothing it says is taken as it comes: heads must be signed and continue each
 * other, and the entries between them must give the very root that was signed, so that none can be left out or changed.
 */
export class CtLog implements Source {
  readonly name: string;
  readonly #client: LogClient;
  readonly #key: KeyObject;
  readonly #id: string;

  /** @throws {InputError} the key is none */
  constructor(
    private readonly options: CtLogOptions,
    private readonly state: MonitorState,
  ) {
    const { key, id } = logIdOf(options.publicKey);
    this.#key = key;
    this.#id = hex(id);
    this.name = options.url;
    const { url, monitoringUrl } = options;
    this.#client =
      monitoringUrl === undefined ? new Rfc6962Client(url) : new TiledClient(monitoringUrl, url, id);
  }

  /** How far it was read, and how far it goes; undefined before the first time. */
  get progress(): { scanned: number; size: number } | undefined {
    const position = this.state.log(this.#id);
    return position && { scanned: position.scanned.size, size: position.head.size };
  }

  async scan(watch: Watch, signal: AbortSignal): Promise<void> {
    const head = await this.#signedHead(signal);
    const before = this.state.log(this.#id);
    const position =
      before === undefined ? await this.#begin(head, signal) : await this.#goOn(before, head, signal);
    this.state.setLog(this.#id, position);
    await watch.commit();
    await this.#read(position, watch, signal);
    // Only now: what such a log still has was looked at.
    this.#requireFresh(head);
  }

  async #signedHead(signal: AbortSignal): Promise<TreeHead> {
    const head = await this.#client.treeHead(signal);
    if (!verifyTreeHead(head, this.#key)) {
      throw new SourceLie("bad_signature", "a tree head is not signed by this log", { size: head.size });
    }
    if (head.timestamp > this.options.now() + CLOCK_TOLERANCE_MS) {
      throw new SourceLie("from_the_future", "a tree head is of a time to come", {
        timestamp: head.timestamp,
      });
    }
    return head;
  }

  #requireFresh(head: TreeHead): void {
    const age = this.options.now() - head.timestamp;
    if (age <= 2 * this.options.mmdMs) return;
    throw new SourceLie(
      "stale",
      "the log has signed no new tree head for more than two merge delays: it may hide what is new",
      {
        timestamp: head.timestamp,
      },
    );
  }

  async #begin(head: TreeHead, signal: AbortSignal): Promise<LogPosition> {
    const nothing = new CompactTree();
    if (this.options.start === "beginning" || head.size === 0) {
      if (head.size === 0 && !sameBytes(head.root, nothing.root())) {
        throw new SourceLie("false_proof", "the root of an empty log is not that of an empty tree");
      }
      return { head, scanned: nothing };
    }
    const last = head.size - 1;
    const [leafInput = new Uint8Array()] = await this.#client.entries(last, head.size, signal);
    const leaf = leafHash(leafInput);
    const path = await this.#client.inclusion(leaf, last, head.size, signal);
    if (!verifyInclusion({ leaf, index: last, size: head.size, path, root: head.root })) {
      throw new SourceLie("false_proof", "the log's last entry is not proven to be in its tree", {
        size: head.size,
      });
    }
    return { head, scanned: CompactTree.fromLastLeaf(head.size, leaf, path) };
  }

  /** The newer of two heads, which must be of one tree. */
  async #goOn(before: LogPosition, head: TreeHead, signal: AbortSignal): Promise<LogPosition> {
    const known = before.head;
    const sizes = { known: known.size, now: head.size };
    if (head.size === known.size) {
      if (sameBytes(head.root, known.root)) {
        return head.timestamp > known.timestamp ? { head, scanned: before.scanned } : before;
      }
      throw new SourceLie("fork", "the log signed two roots for one size", sizes);
    }
    const [older, newer] = head.size < known.size ? [head, known] : [known, head];
    if (newer === known && head.timestamp > known.timestamp) {
      throw new SourceLie("shrinks", "a newer tree head of the log has fewer entries", sizes);
    }
    if (older.size > 0 && !(await this.#continues(older, newer, signal))) {
      throw new SourceLie("fork", "the log does not continue what it signed before", sizes);
    }
    // An older head comes from one of a log's servers that lags behind, and is no news.
    return newer === known ? before : { head, scanned: before.scanned };
  }

  async #continues(
    older: { size: number; root: Uint8Array },
    newer: { size: number; root: Uint8Array },
    signal: AbortSignal,
  ): Promise<boolean> {
    const path = await this.#client.consistency(older.size, newer.size, signal);
    return verifyConsistency({
      oldSize: older.size,
      oldRoot: older.root,
      size: newer.size,
      root: newer.root,
      path,
    });
  }

  async #read({ head, scanned }: LogPosition, watch: Watch, signal: AbortSignal): Promise<void> {
    const tree = CompactTree.from(scanned);
    let believed = tree.size;
    while (tree.size < head.size) {
      const leaves = await this.#client.entries(tree.size, head.size, signal);
      for (const leaf of leaves) {
        this.#examine(leaf, tree.size, watch);
        tree.append(leafHash(leaf));
      }
      if (tree.size < head.size && tree.size - believed < CHECKPOINT_ENTRIES) continue;
      const here = { size: tree.size, root: tree.root() };
      const honest =
        here.size === head.size ? sameBytes(here.root, head.root) : await this.#continues(here, head, signal);
      if (!honest) {
        throw new SourceLie("false_entries", "the log gives other entries than those it signed", {
          from: believed,
          to: tree.size,
        });
      }
      believed = tree.size;
      this.state.setLog(this.#id, { head, scanned: tree.copy() });
      await watch.commit();
    }
  }

  #examine(leaf: Uint8Array, index: number, watch: Watch): void {
    // Most of a log is of others: their certificates are not even parsed.
    if (!mentions(leaf, this.state.domain)) return;
    const where = `${this.name} entry ${index}`;
    try {
      const { kind, der } = parseEntry(leaf);
      watch.certificate({ kind, der, where });
    } catch (err) {
      watch.unreadable(leaf, where, errorMessage(err));
    }
  }
}
