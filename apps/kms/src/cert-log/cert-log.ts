import { sameBytes } from "@dstack/core";
import { leafHash } from "@dstack/ct";
import type { MerkleTree } from "@dstack/ct";
import { ChainedLog, ChainedLogError } from "@dstack/daemon";
import type { ChainHead, ChainLink, ChainedLogOptions } from "@dstack/daemon";
import { CertLogEntry } from "./entry.js";
import { LogIndex } from "./log-index.js";

export type CertLogOptions = Pick<ChainedLogOptions<CertLogEntry>, "onTorn" | "openFile">;

/** What an entry says beyond its place in the chain. */
export type NewEntry = Omit<CertLogEntry, keyof ChainLink>;

/**
 * The append-only, hash-chained log of issued certificates (K5). One process writes it. An entry is on disk before
 * {@link append} returns, so that no certificate leaves without its entry.
 */
export class CertLog implements AsyncDisposable {
  private constructor(
    private readonly log: ChainedLog<CertLogEntry>,
    private readonly index: LogIndex,
  ) {}

  /**
   * Opens a log and checks its whole chain. A last line without its newline was being written when the process died:
   * it is cut off.
   * @throws {ChainedLogError} `broken_chain`: an entry was changed, removed or added by somebody else
   */
  static async open(path: string, options: CertLogOptions = {}): Promise<CertLog> {
    const index = new LogIndex();
    const log = await ChainedLog.open(path, {
      ...options,
      context: "dstack-cert-log-v1:",
      parse: (value) => CertLogEntry.parse(value),
      onEntry: (...entry) => index.add(...entry),
    });
    return new CertLog(log, index);
  }

  /** The last entry's place and hash. */
  get head(): ChainHead {
    return this.log.head;
  }

  /** Tree over the entries, for proofs. */
  get tree(): MerkleTree {
    return this.index.tree;
  }

  /**
   * Finds the entry of a certificate.
   * @param certificateSha256 of its DER
   * @throws {ChainedLogError} `broken_chain`: the file no longer says what was written
   */
  async find(certificateSha256: Uint8Array): Promise<{ seq: number; json: string } | undefined> {
    const at = this.index.find(certificateSha256);
    if (at === undefined) return undefined;
    const json = await this.log.readEntry(at);
    if (!sameBytes(leafHash(json), at.leaf)) {
      throw new ChainedLogError("broken_chain", `log ${this.log.path}: entry ${at.seq} was changed`);
    }
    return { seq: at.seq, json };
  }

  /** @throws {ChainedLogError} when the log can take no more entries until the KMS is started again */
  assertUsable(): void {
    this.log.assertUsable();
  }

  /**
   * Appends an entry and waits until it is on disk.
   * @throws {ChainedLogError} it is not: the certificate must not be given out
   */
  append(entry: NewEntry): Promise<CertLogEntry> {
    return this.log.append(entry);
  }

  /** Waits for the entries under way and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.log[Symbol.asyncDispose]();
  }
}
