import { errorMessage, sleep } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { StoreError } from "@dstack/store";
import type { NodeRegistry } from "./nodes.js";

/** Between two times of joining; longer each time, up to a minute: two nodes of one name would write against each other. */
const RETRY_MS = 500;
const MAX_RETRY_MS = 60_000;
/** Between two times while the store cannot be reached: that hurts nobody. */
const AWAY_RETRY_MS = 2_000;

/**
 * Sees to it that the store has what this node is: at the start, and whenever the store came back, was emptied, or an
 * operator removed a node that was only cut off.
 */
export class Membership {
  readonly #nodes: NodeRegistry;
  readonly #alone: boolean;
  readonly #log: Logger;
  #trouble: string | undefined;

  /** @param alone there are no other nodes */
  constructor(nodes: NodeRegistry, alone: boolean, log: Logger) {
    this.#nodes = nodes;
    this.#alone = alone;
    this.#log = log;
  }

  /** Why the other nodes, and guests, do not know of this one; undefined while they do. */
  get trouble(): string | undefined {
    return this.#nodes.isJoined() ? undefined : (this.#trouble ?? "it is about to tell them");
  }

  /**
   * Tells the other nodes what this one is. While the store is away, what it told them last has to do.
   * @throws {InputError} its addresses or its key are another node's
   */
  async begin(): Promise<void> {
    try {
      await this.#nodes.join(this.#alone);
    } catch (err) {
      if (!(err instanceof StoreError)) throw err;
      this.#failed(err);
    }
  }

  /** Tells them again whenever they do not know it any more, until the signal aborts. */
  async keep(signal: AbortSignal): Promise<void> {
    let wake = new AbortController();
    this.#nodes.onChange(() => wake.abort());
    let restMs = RETRY_MS;
    while (!signal.aborted) {
      wake = new AbortController();
      if (this.#nodes.isJoined()) {
        const since = performance.now();
        await sleep(MAX_RETRY_MS, AbortSignal.any([signal, wake.signal])).catch(() => {});
        if (performance.now() - since >= MAX_RETRY_MS) restMs = RETRY_MS;
        continue;
      }
      await sleep(restMs, signal).catch(() => {});
      if (signal.aborted) return;
      restMs = Math.min(restMs * 2, MAX_RETRY_MS);
      try {
        await this.#nodes.join(this.#alone);
        this.#log.warn("the store did not have this node, or had it otherwise: it has joined again");
        this.#trouble = undefined;
      } catch (err) {
        this.#failed(err);
        if (err instanceof StoreError) restMs = AWAY_RETRY_MS;
      }
    }
  }

  #failed(err: unknown): void {
    const reason = errorMessage(err);
    if (reason !== this.#trouble) this.#log.error({ err }, "the other nodes could not be told of this one");
    this.#trouble = reason;
  }
}
