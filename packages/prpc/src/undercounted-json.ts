import type { Server } from "node:http";
import type { Socket } from "node:net";
import { JsonEnd } from "./json-end.js";

/** Request line and headers; longer heads go to the HTTP parser as they are, which refuses them. */
const MAX_HEAD_BYTES = 32 * 1024;
/** Bodies announced longer than this are not looked at: old SDKs send a few kilobytes. */
const MAX_BODY_BYTES = 2 ** 20;
/** From the connection to the announced end of its first request. */
const FIRST_REQUEST_MS = 30_000;
/** From the announced end to the real one. SDKs write the whole request at once, so the rest is on its way. */
const REST_MS = 2_000;

interface Head {
  bodyStart: number;
  contentLength: number;
}

/** `undefined` for a request whose length is not announced in the one way old SDKs use. */
function parseHead(received: Buffer): Head | "incomplete" | undefined {
  const end = received.indexOf("\r\n\r\n");
  if (end < 0) return received.length > MAX_HEAD_BYTES ? undefined : "incomplete";
  const lines = received.toString("latin1", 0, end).split("\r\n").slice(1);
  const lengths = lines.filter((line) => /^content-length\s*:/i.test(line));
  const digits = /^[^:]*:\s*([0-9]{1,8})\s*$/.exec(lengths[0] ?? "")?.[1];
  if (lengths.length !== 1 || digits === undefined) return undefined;
  if (lines.some((line) => /^transfer-encoding\s*:/i.test(line))) return undefined;
  return { bodyStart: end + 4, contentLength: Number(digits) };
}

type Judgement = "incomplete" | "rest_missing" | "as_it_is" | { contentLength: number };

/**
 * Looks at the first request of a connection. The length is corrected only where the announced one is exactly the
 * number of UTF-16 units of one whole JSON value, so no other request can be read differently than HTTP says.
 */
export class FirstRequest {
  #chunks: Buffer[] = [];
  #head: Head | undefined;
  #bodyLength = 0;
  readonly #end = new JsonEnd();

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  add(chunk: Buffer): Judgement {
    this.#chunks.push(chunk);
    let piece = chunk;
    if (this.#head === undefined) {
      const received = this.bytes;
      this.#chunks = [received];
      const head = parseHead(received);
      if (head === "incomplete") return "incomplete";
      if (head === undefined || head.contentLength > MAX_BODY_BYTES) return "as_it_is";
      this.#head = head;
      piece = received.subarray(head.bodyStart);
    }
    return this.#judgeBody(piece, this.#head);
  }

  #judgeBody(piece: Buffer, { bodyStart, contentLength }: Head): Judgement {
    this.#bodyLength += piece.length;
    const end = this.#end.add(piece);
    if (end === "not_json") return "as_it_is";
    if (end === undefined) {
      if (this.#bodyLength < contentLength) return "incomplete";
      // A UTF-16 unit is at most three bytes of UTF-8.
      return this.#end.sawNonAscii && this.#bodyLength <= 3 * contentLength ? "rest_missing" : "as_it_is";
    }
    if (end <= contentLength) return "as_it_is";
    const body = this.bytes.subarray(bodyStart, bodyStart + end);
    return new TextDecoder().decode(body).length === contentLength ? { contentLength: end } : "as_it_is";
  }

  /** The bytes received, with another Content-Length. */
  withContentLength(length: number): Buffer {
    const received = this.bytes;
    const start = this.#head?.bodyStart ?? 0;
    const head = received.toString("latin1", 0, start);
    const corrected = head.replace(/^(content-length\s*:\s*)[0-9]+/im, `$1${length}`);
    return Buffer.concat([Buffer.from(corrected, "latin1"), received.subarray(start)]);
  }
}

function inspect(socket: Socket, deliver: () => void): void {
  const first = new FirstRequest();
  let timer = setTimeout(() => socket.destroy(), FIRST_REQUEST_MS);
  let waitsForRest = false;
  const stop = (): void => {
    clearTimeout(timer);
    socket.off("data", onData).off("end", onEnd).off("error", stop).off("close", stop);
  };
  const handOver = (bytes: Buffer): void => {
    stop();
    socket.pause();
    socket.unshift(bytes);
    deliver();
    // The HTTP parser attached itself to a paused socket: let it flow once it is in place.
    process.nextTick(() => socket.resume());
  };
  const onData = (chunk: Buffer): void => {
    const judgement = first.add(chunk);
    if (judgement === "as_it_is") handOver(first.bytes);
    else if (typeof judgement === "object") handOver(first.withContentLength(judgement.contentLength));
    else if (judgement === "rest_missing" && !waitsForRest) {
      waitsForRest = true;
      clearTimeout(timer);
      timer = setTimeout(() => handOver(first.bytes), REST_MS);
    }
  };
  const onEnd = (): void => {
    stop();
    // Whoever ended may be gone altogether: the write then fails, and an error nobody hears would end the process.
    socket.on("error", () => socket.destroy());
    socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  };
  socket.on("data", onData).on("end", onEnd).on("error", stop).on("close", stop);
}

/**
 * Makes a server read requests of SDKs that count `Content-Length` in UTF-16 units, which is too little for a body
 * with non-ASCII text: the JSON is read to its end and the length corrected before HTTP parsing. Only the first
 * request of a connection is looked at; those SDKs open a connection for each.
 */
export function acceptUndercountedJson(server: Server): void {
  const deliverTo = server.listeners("connection");
  server.removeAllListeners("connection");
  server.on("connection", (socket: Socket) => {
    inspect(socket, () => {
      for (const listener of deliverTo) listener.call(server, socket);
    });
  });
}
