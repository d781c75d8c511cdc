import { generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { DER, DerReader, concatBytes } from "@dstack/core";
import { MerkleTree, leafHash } from "@dstack/ct";
import { signedTreeHead } from "../../../packages/ct/src/tree-head.js";

const uint = (value: number, bytes: number): Buffer => {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
};

/** MerkleTreeLeaf of RFC 6962 §3.4. A precertificate is given as the final certificate: its TBS is what the log keeps. */
export function leafInput(der: Uint8Array, kind: "x509" | "precert", timestamp: number): Uint8Array {
  const head = [uint(0, 2), uint(0, 2), uint(timestamp, 6)];
  const body = kind === "x509" ? der : tbsOf(der);
  const type = kind === "x509" ? [uint(0, 2)] : [uint(1, 2), new Uint8Array(32).fill(5)];
  return concatBytes(...head, ...type, uint(body.length, 3), body, uint(0, 2));
}

function tbsOf(der: Uint8Array): Uint8Array {
  const certificate = new DerReader(
    new DerReader(der, "certificate").next(DER.sequence).content,
    "certificate",
  );
  return certificate.next(DER.sequence).whole;
}

/** What a log that does not behave does to one question. */
export type Lie = (method: string, answer: Record<string, unknown>, query: URLSearchParams) => unknown;

/**
 * A CT log in this process: a real tree, real signatures, the protocol of RFC 6962 §4. It lies on request: it can sign
 * other trees than it has, and change any answer.
 */
export class LogServer implements AsyncDisposable {
  readonly #keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  #leaves: Uint8Array[] = [];
  #tree = new MerkleTree();
  /** Answers in place of the truth. A string is sent as it is; "hang" never answers. */
  lie: Lie | undefined;
  /** Unix ms: of heads. */
  now: () => number = Date.now;
  /** Entries given at most at a time, as real logs cap them. */
  batch = 64;
  readonly asked: string[] = [];

  private constructor(readonly server: ReturnType<typeof createServer>) {}

  static async start(): Promise<LogServer> {
    const server = createServer((request, response) => {
      const url = new URL(request.url ?? "/", "http://log");
      log.#answer(url, response);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const log = new LogServer(server);
    return log;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** As in a log list. */
  get publicKey(): string {
    return this.#keys.publicKey.export({ format: "der", type: "spki" }).toString("base64");
  }

  get size(): number {
    return this.#leaves.length;
  }

  add(der: Uint8Array, kind: "x509" | "precert" = "x509"): void {
    this.addLeaf(leafInput(der, kind, this.now()));
  }

  addLeaf(leaf: Uint8Array): void {
    this.#leaves.push(leaf);
    this.#tree.append(leafHash(leaf));
  }

  /** Forgets everything after the first `size` entries, and may go on differently: a fork. */
  rewind(size: number): void {
    this.#leaves = this.#leaves.slice(0, size);
    this.#tree = new MerkleTree();
    for (const leaf of this.#leaves) this.#tree.append(leafHash(leaf));
  }

  /** A head of the tree's first `size` entries, signed by this log or by another key. */
  head(size = this.size, changes: { timestamp?: number; root?: Uint8Array; key?: KeyObject } = {}) {
    const head = {
      size,
      timestamp: changes.timestamp ?? this.now(),
      root: changes.root ?? this.#tree.root(size),
    };
    const signature = sign("sha256", signedTreeHead(head), changes.key ?? this.#keys.privateKey);
    const signed = concatBytes(Uint8Array.of(4, 3), uint(signature.length, 2), signature);
    return {
      tree_size: head.size,
      timestamp: head.timestamp,
      sha256_root_hash: base64(head.root),
      tree_head_signature: base64(signed),
    };
  }

  #answer(url: URL, response: ServerResponse): void {
    const method = url.pathname.replace("/ct/v1/", "");
    this.asked.push(`${method}${url.search}`);
    try {
      const truth = this.#truth(method, url.searchParams);
      const answer = this.lie?.(method, truth, url.searchParams) ?? truth;
      if (answer === "hang") return;
      response.end(typeof answer === "string" ? answer : JSON.stringify(answer));
    } catch (err) {
      response.writeHead(400).end(String(err));
    }
  }

  #truth(method: string, query: URLSearchParams): Record<string, unknown> {
    const number = (name: string): number => Number(query.get(name));
    if (method === "get-sth") return this.head();
    if (method === "get-sth-consistency") {
      const path = this.#tree.consistencyPath(number("first"), number("second"));
      return { consistency: path.map(base64) };
    }
    if (method === "get-proof-by-hash") {
      const hash = query.get("hash");
      const index = this.#leaves.findIndex((leaf) => base64(leafHash(leaf)) === hash);
      return {
        leaf_index: index,
        audit_path: this.#tree.inclusionPath(index, number("tree_size")).map(base64),
      };
    }
    if (method === "get-entries") {
      const start = number("start");
      const leaves = this.#leaves.slice(start, Math.min(number("end") + 1, start + this.batch));
      return { entries: leaves.map((leaf) => ({ leaf_input: base64(leaf), extra_data: "" })) };
    }
    throw new Error(`no such method: ${method}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
