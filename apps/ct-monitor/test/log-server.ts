import { generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { DER, DerReader, concatBytes, sha256, utf8 } from "@dstack/core";
import { MerkleTree, leafHash, originOf } from "@dstack/ct";
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

function rootOf(leaves: readonly Uint8Array[]): Uint8Array {
  const tree = new MerkleTree();
  for (const leaf of leaves) tree.append(leafHash(leaf));
  return tree.root();
}

/** A leaf as tiles have it: without its first two bytes, with the precertificate and an issuer's fingerprint. */
export function tileLeaf(leaf: Uint8Array): Uint8Array {
  const isPrecert = leaf[11] === 1;
  const precertificate = isPrecert ? [uint(3, 3), Uint8Array.of(7, 7, 7)] : [];
  return concatBytes(leaf.subarray(2), ...precertificate, uint(32, 2), sha256("issuer"));
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

/** The same for a file of a tiled log; undefined: it is not there. */
export type FileLie = (path: string, truth: Uint8Array | undefined) => Uint8Array | undefined;

/**
 * A CT log in this process: a real tree, real signatures, the protocol of RFC 6962 §4, and beside it the files of
 * c2sp.org/static-ct-api. It lies on request: it can sign other trees than it has, and change any answer.
 */
export class LogServer implements AsyncDisposable {
  readonly #keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
  #leaves: Uint8Array[] = [];
  #tree = new MerkleTree();
  /** Answers in place of the truth. A string is sent as it is; "hang" never answers. */
  lie: Lie | undefined;
  fileLie: FileLie | undefined;
  /** Files come packed, asked for or not. */
  gzip = false;
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

  /** A head as a tiled log publishes it, between signatures that are nobody's business. */
  checkpoint(head = this.head()): string {
    const origin = originOf(this.url);
    const logId = sha256(this.#keys.publicKey.export({ format: "der", type: "spki" }));
    const keyId = sha256(utf8(`${origin}\n\x05`), logId).subarray(0, 4);
    const time = uint(head.timestamp, 6);
    const signature = concatBytes(keyId, uint(0, 2), time, Buffer.from(head.tree_head_signature, "base64"));
    const lines = [`grease.invalid ${base64(sha256("grease"))}`, `${origin} AAAAAAAAAAAA`];
    const signatures = [...lines, `${origin} ${base64(signature)}`].map((line) => `— ${line}\n`);
    return `${origin}\n${head.tree_size}\n${head.sha256_root_hash}\n\n${signatures.join("")}`;
  }

  /** A file of the tiled log; undefined when there is none, as for a partial tile that has become full. */
  #file(path: string): Uint8Array | undefined {
    if (path === "checkpoint") return utf8(this.checkpoint());
    const [, level = "", place = "", partial] =
      /^tile\/([0-5]|data)\/((?:x\d{3}\/)*\d{3})(?:\.p\/(\d+))?$/.exec(path) ?? [];
    const index = Number(place.replaceAll(/[x/]/g, ""));
    const each = level === "data" ? 1 : 256 ** Number(level);
    const there = Math.min(256, Math.floor(this.size / each) - index * 256);
    const width = partial === undefined ? 256 : Number(partial);
    if (level === "" || width > there || (partial !== undefined && there === 256)) return undefined;
    const places = Array.from({ length: width }, (_, i) => index * 256 + i);
    if (level === "data") return concatBytes(...places.map((i) => tileLeaf(this.#leaves[i] ?? sha256())));
    return concatBytes(...places.map((i) => rootOf(this.#leaves.slice(i * each, (i + 1) * each))));
  }

  #answerFile(path: string, response: ServerResponse): void {
    this.asked.push(path);
    const truth = this.#file(path);
    const file = this.fileLie === undefined ? truth : this.fileLie(path, truth);
    if (file === undefined) response.writeHead(404).end();
    else if (this.gzip) response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(file));
    else response.end(file);
  }

  #answer(url: URL, response: ServerResponse): void {
    if (!url.pathname.startsWith("/ct/v1/")) return this.#answerFile(url.pathname.slice(1), response);
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
