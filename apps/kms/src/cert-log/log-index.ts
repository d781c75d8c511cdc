import { hex, sha256 } from "@dstack/core";
import type { CertLogEntry } from "./entry.js";
import { MerkleTree, leafHash } from "@dstack/ct";

/** An entry's place in the file, and the leaf that its text hashes to. */
export interface LogPlace {
  readonly seq: number;
  readonly offset: number;
  readonly bytes: number;
  readonly leaf: Uint8Array;
}

/** What is kept in memory of an issue log: the tree over its entries, and where each certificate's entry is. */
export class LogIndex {
  readonly tree = new MerkleTree();
  readonly #byCertificate = new Map<string, LogPlace>();
  #size = 0;

  /** @param bytes length of the line in the file, newline included */
  add(entry: CertLogEntry, json: string, bytes: number): void {
    const leaf = leafHash(json);
    const certificate = hex(sha256(Buffer.from(entry.certificate, "base64")));
    if (!this.#byCertificate.has(certificate)) {
      this.#byCertificate.set(certificate, { seq: entry.seq, offset: this.#size, bytes, leaf });
    }
    this.tree.append(leaf);
    this.#size += bytes;
  }

  find(certificateSha256: Uint8Array): LogPlace | undefined {
    return this.#byCertificate.get(hex(certificateSha256));
  }
}
