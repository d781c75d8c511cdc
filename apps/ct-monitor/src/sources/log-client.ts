import type { TreeHead } from "@dstack/ct";

/**
 * The questions a monitor asks a log, whichever interface it has. Answers are bounded and in form; nothing of them is
 * verified. Every method throws when there is no answer now.
 */
export interface LogClient {
  treeHead(signal: AbortSignal): Promise<TreeHead>;
  /** Proof that the first `first` entries begin the first `second`, both at least 1 (RFC 6962 §2.1.2). */
  consistency(first: number, second: number, signal: AbortSignal): Promise<Uint8Array[]>;
  /** Audit path of the leaf at `index` in the tree of `size` (RFC 6962 §2.1.1). @param leaf its hash */
  inclusion(leaf: Uint8Array, index: number, size: number, signal: AbortSignal): Promise<Uint8Array[]>;
  /**
   * Leaves from `start` on, at least one and as many as the log gives at a time.
   * @param end after the last one wanted: no more than a head vouched for
   */
  entries(start: number, end: number, signal: AbortSignal): Promise<Uint8Array[]>;
}
