import type { IncomingHttpHeaders, OutgoingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { constants } from "node:http2";
import { type Readable, finished, pipeline } from "node:stream";

/** What is answered. */
export interface Reply {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  /** Nothing for an answer that has none. */
  readonly body?: Readable | string;
  /** Known when the body has ended. */
  readonly trailers?: () => OutgoingHttpHeaders | undefined;
}

/** RFC 9110 §6.4.1, beside answers to HEAD. */
const BODILESS = new Set([204, 205, 304]);

/** One request of a client with its answer, whichever HTTP it speaks. */
export interface Exchange {
  readonly method: string;
  /** `Host` or `:authority` as sent. */
  readonly authority: string;
  /** Path with query, or `*`; checked by {@link checkTarget}. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** The client's address as we see it. */
  readonly address: string;
  /** Undefined when the request has none. */
  readonly body: Readable | undefined;
  /** The same object for all requests of one client connection that takes several at once. */
  readonly connection: object;
  /** Whether a reply has begun. */
  readonly answered: boolean;
  /** @throws what cannot be said in this protocol, such as status 999 in HTTP/2; then nothing was answered */
  reply(reply: Reply): void;
  /** Breaks off, so that the client does not take what it has for the whole. */
  abort(): void;
  /** Called once, when the answer is done or the client is gone. */
  onClose(done: () => void): void;
}

/** Told the status of a reply as it begins. */
type OnReply = (status: number) => void;

/** Of an HTTP/1.x request; also of one that asks for an upgrade it does not get. */
export function http1Exchange(
  request: IncomingMessage,
  response: ServerResponse,
  onReply: OnReply,
): Exchange {
  // RFC 9112 §6.3: a request has a body if and only if one of these says so.
  const { "content-length": length, "transfer-encoding": coding } = request.headers;
  const hasBody = coding !== undefined || (length !== undefined && length !== "0");
  return {
    method: request.method ?? "",
    authority: request.headers.host ?? "",
    target: request.url ?? "",
    headers: request.headers,
    address: request.socket.remoteAddress ?? "",
    body: hasBody ? request : undefined,
    connection: request.socket,
    get answered() {
      return response.headersSent;
    },
    reply({ status, headers, body }) {
      // After a request that was not understood, or is still coming in, nothing on the connection is sure.
      if (status === 400 || (status > 400 && hasBody && !request.complete)) response.shouldKeepAlive = false;
      response.writeHead(status, headers);
      onReply(status);
      if (body === undefined || typeof body === "string") response.end(body);
      else pipeline(body, response, () => {});
    },
    abort: () => void response.destroy(),
    onClose: (done) => void response.once("close", done),
  };
}

/** Of an HTTP/2 request: its stream, which knows of trailers and of breaking off. */
export function http2Exchange(
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  onReply: OnReply,
): Exchange {
  const { stream, headers } = request;
  return {
    method: headers[":method"] ?? "",
    // RFC 9113 §8.3.1: a client converted from HTTP/1.1 may send Host alone.
    authority: headers[":authority"] ?? headers.host ?? "",
    target: headers[":path"] ?? "",
    headers,
    address: stream.session?.socket.remoteAddress ?? "",
    body: stream.endAfterHeaders ? undefined : stream,
    connection: stream.session ?? stream,
    get answered() {
      return stream.headersSent;
    },
    reply({ status, headers: given, body, trailers }) {
      if (stream.closed || stream.destroyed) return;
      onReply(status);
      const all = { ...given, ":status": status };
      if (typeof body === "object" && (headers[":method"] === "HEAD" || BODILESS.has(status))) {
        // Node ends the stream with these headers.
        body.resume();
        stream.respond(all);
        return;
      }
      if (body === undefined || typeof body === "string") {
        // gRPC takes headers for trailers only if they end the stream themselves.
        stream.respond(all, { endStream: body === undefined });
        if (body !== undefined) stream.end(body);
        return;
      }
      stream.respond(all, { waitForTrailers: trailers !== undefined });
      // Node's response object answers this event; it must have them before.
      stream.prependOnceListener("wantTrailers", () => response.addTrailers(trailers?.() ?? {}));
      pipeline(body, stream, (err) => {
        if (err instanceof Error) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
      });
    },
    abort: () => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
    onClose: (done) => void finished(stream, () => done()),
  };
}
