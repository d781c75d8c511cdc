import { parseServerName } from "./server-name.js";
import type { ServerName } from "./server-name.js";

/** We read no longer ClientHello, record headers included. Post-quantum ones have 2 KiB, odd ones 20 KiB. */
export const MAX_CLIENT_HELLO_BYTES = 65_536;
/** Longest plaintext fragment of a record (RFC 8446 §5.1). */
const MAX_FRAGMENT_BYTES = 2 ** 14;

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME_EXTENSION = 0;
const ALPN_EXTENSION = 16;
const HOST_NAME = 0;

/** TLS alert descriptions (RFC 8446 §6) a refusal may carry. */
export type Alert =
  "unexpected_message" | "decode_error" | "protocol_version" | "unrecognized_name" | "internal_error";

export interface ClientHello {
  /** Absent when the client sent none, or sent something that is no host name. */
  readonly serverName: ServerName | undefined;
  /** Protocols offered by ALPN, in the client's order, as Latin-1 text; empty without the extension. */
  readonly alpn: readonly string[];
}

export type HelloResult =
  | { readonly kind: "more" }
  | { readonly kind: "hello"; readonly hello: ClientHello }
  /** The bytes are no TLS at all. */
  | { readonly kind: "not_tls"; readonly alert: Alert }
  | { readonly kind: "bad"; readonly reason: string };

/** The text is a client's and stays inside: reasons are fixed sentences. */
class Malformed extends Error {}

/**
 * Collects a ClientHello from a stream in whatever pieces it comes: one byte at a time, over many segments, over
 * many records. Work and memory grow with the bytes received, not with the number of pieces.
 */
export class ClientHelloReader {
  #message: Buffer = Buffer.alloc(0);
  #filled = 0;
  readonly #header = Buffer.alloc(5);
  #headerFilled = 0;
  #fragmentLeft = 0;
  #received = 0;
  #done: HelloResult | undefined;

  /** Takes the next bytes. After a result other than `more` it gives that result again. */
  push(chunk: Uint8Array): HelloResult {
    if (this.#done !== undefined) return this.#done;
    let result: HelloResult;
    try {
      result = this.#read(chunk);
    } catch (err) {
      if (!(err instanceof Malformed)) throw err;
      result = { kind: "bad", reason: err.message };
    }
    if (result.kind !== "more") this.#done = result;
    return result;
  }

  #read(chunk: Uint8Array): HelloResult {
    let at = 0;
    while (at < chunk.length) {
      if (this.#received + at >= MAX_CLIENT_HELLO_BYTES) throw new Malformed("ClientHello is too long");
      if (this.#fragmentLeft === 0) {
        this.#header[this.#headerFilled++] = chunk[at++] ?? 0;
        if (this.#header[0] !== HANDSHAKE_RECORD) {
          // RFC 8446 §5.1. The header of an SSLv2 hello begins with a bit that no record of TLS has.
          const isSslV2 = ((this.#header[0] ?? 0) & 0x80) !== 0;
          return { kind: "not_tls", alert: isSslV2 ? "protocol_version" : "unexpected_message" };
        }
        if (this.#headerFilled >= 2 && this.#header[1] !== 3) {
          return { kind: "not_tls", alert: "protocol_version" };
        }
        if (this.#headerFilled === 5) this.#startFragment();
        continue;
      }
      const take = Math.min(
        this.#fragmentLeft,
        chunk.length - at,
        MAX_CLIENT_HELLO_BYTES - this.#received - at,
      );
      this.#append(chunk.subarray(at, at + take));
      at += take;
      this.#fragmentLeft -= take;
      const length = this.#messageLength();
      if (length !== undefined && this.#filled >= length) {
        // A second handshake message cannot follow in the same record: the client has to wait for our answer.
        if (this.#filled > length || this.#fragmentLeft > 0)
          throw new Malformed("bytes after the ClientHello");
        return { kind: "hello", hello: parseBody(this.#message.subarray(4, length)) };
      }
    }
    this.#received += chunk.length;
    return { kind: "more" };
  }

  #startFragment(): void {
    const length = this.#header.readUInt16BE(3);
    // RFC 8446 §5.1: no empty fragments of handshake messages.
    if (length === 0) throw new Malformed("empty handshake record");
    if (length > MAX_FRAGMENT_BYTES) throw new Malformed("record is too long");
    this.#fragmentLeft = length;
    this.#headerFilled = 0;
  }

  #append(bytes: Uint8Array): void {
    const needed = this.#filled + bytes.length;
    if (needed > this.#message.length) {
      const grown = Buffer.allocUnsafe(
        Math.min(Math.max(2 * this.#message.length, needed, 512), MAX_CLIENT_HELLO_BYTES),
      );
      this.#message.copy(grown, 0, 0, this.#filled);
      this.#message = grown;
    }
    this.#message.set(bytes, this.#filled);
    this.#filled = needed;
    if (this.#message[0] !== CLIENT_HELLO) throw new Malformed("first message is no ClientHello");
  }

  #messageLength(): number | undefined {
    if (this.#filled < 4) return undefined;
    const length = 4 + this.#message.readUIntBE(1, 3);
    if (length > MAX_CLIENT_HELLO_BYTES) throw new Malformed("ClientHello is too long");
    return length;
  }
}

/** Reads a ClientHello from the first bytes of a connection: {@link ClientHelloReader} for bytes in one piece. */
export function parseClientHello(bytes: Uint8Array): HelloResult {
  return new ClientHelloReader().push(bytes);
}

/** A cursor that cannot leave its bytes. */
class Cursor {
  #at = 0;
  constructor(readonly bytes: Buffer) {}

  get left(): number {
    return this.bytes.length - this.#at;
  }

  take(length: number, what: string): Buffer {
    if (length > this.left) throw new Malformed(`${what} is cut short`);
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  uint(size: 1 | 2, what: string): number {
    return this.take(size, what).readUIntBE(0, size);
  }

  /** A vector with its length in front. */
  vector(size: 1 | 2, what: string): Cursor {
    return new Cursor(this.take(this.uint(size, what), what));
  }

  end(what: string): void {
    if (this.left > 0) throw new Malformed(`bytes after ${what}`);
  }
}

/** RFC 8446 §4.1.2. */
function parseBody(body: Buffer): ClientHello {
  const cursor = new Cursor(body);
  cursor.take(2 + 32, "version and random");
  if (cursor.vector(1, "session id").left > 32) throw new Malformed("session id is too long");
  const suites = cursor.vector(2, "cipher suites").left;
  if (suites === 0 || suites % 2 !== 0) throw new Malformed("cipher suites have an odd length");
  if (cursor.vector(1, "compression methods").left === 0) throw new Malformed("no compression methods");
  let serverName: ServerName | undefined;
  let alpn: readonly string[] = [];
  if (cursor.left === 0) return { serverName, alpn }; // TLS 1.2 and older: extensions may be absent
  const extensions = cursor.vector(2, "extensions");
  cursor.end("extensions");
  const seen = new Set<number>();
  while (extensions.left > 0) {
    const type = extensions.uint(2, "extension");
    const value = extensions.vector(2, "extension");
    // RFC 8446 §4.2: at most one extension of a type. Two names would let two readers choose differently.
    if (seen.has(type)) throw new Malformed("an extension appears twice");
    seen.add(type);
    if (type === SERVER_NAME_EXTENSION) serverName = parseServerNameExtension(value);
    if (type === ALPN_EXTENSION) alpn = parseAlpn(value);
  }
  return { serverName, alpn };
}

/** RFC 6066 §3. */
function parseServerNameExtension(value: Cursor): ServerName | undefined {
  const list = value.vector(2, "server name list");
  value.end("server name list");
  let found: Buffer | undefined;
  while (list.left > 0) {
    const type = list.uint(1, "server name");
    const name = list.vector(2, "server name");
    if (type !== HOST_NAME) continue;
    if (found !== undefined) throw new Malformed("two host names");
    found = name.bytes;
  }
  return found === undefined ? undefined : parseServerName(found.toString("latin1"));
}

/** RFC 7301 §3.1. */
function parseAlpn(value: Cursor): string[] {
  const list = value.vector(2, "protocol list");
  value.end("protocol list");
  const protocols: string[] = [];
  while (list.left > 0) {
    const { bytes } = list.vector(1, "protocol");
    if (bytes.length === 0) throw new Malformed("empty protocol name");
    protocols.push(bytes.toString("latin1"));
  }
  return protocols;
}
