import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import type { IncomingHttpHeaders } from "node:http";
import { TimeoutError } from "@dstack/core";
import type { Target } from "../settings/target.js";
import type { Exchange } from "./exchange.js";
import { endToEnd, forwardedHeaders } from "./headers.js";
import { CONNECT_LIMIT_MS, IDLE_LIMIT_MS } from "./limits.js";

/** HTTP/2 connections to targets, one for each connection of a client, which they do not outlive. */
export class GrpcForwarder {
  readonly #sessions = new WeakMap<object, Map<Target, ClientHttp2Session>>();

  /** As `forwardHttp1`, over HTTP/2 without TLS, trailers included. */
  forward(exchange: Exchange, target: Target, fail: (err: Error) => void): void {
    const session = this.#sessionTo(target, exchange.connection);
    const { authority, address, method, body, headers } = exchange;
    const forwarded = forwardedHeaders(headers, { authority, address });
    delete forwarded["host"];
    // RFC 9113 §8.2.2: the one value of TE that goes on.
    const te = headers.te === "trailers" ? { te: "trailers" } : {};
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(
        {
          ...forwarded,
          ...te,
          ":method": method,
          ":path": exchange.target,
          ":scheme": "http",
          ":authority": authority,
        },
        { endStream: body === undefined },
      );
    } catch (err) {
      fail(err as Error);
      return;
    }
    let trailers: IncomingHttpHeaders | undefined;
    stream.once("trailers", (got) => (trailers = got));
    stream.once("response", ({ ":status": status, ...got }, flags) => {
      const ended = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      const reply = { status: status ?? 502, headers: endToEnd(got as IncomingHttpHeaders) };
      try {
        if (ended) exchange.reply(reply);
        else exchange.reply({ ...reply, body: stream, trailers: () => trailers && endToEnd(trailers) });
      } catch (err) {
        stream.destroy(err as Error);
      }
    });
    stream.on("error", (err) => {
      if (exchange.answered) exchange.abort();
      else fail(err);
    });
    exchange.onClose(() => stream.close(constants.NGHTTP2_CANCEL));
    if (body === undefined) return;
    body.pipe(stream);
    body.once("error", () => stream.close(constants.NGHTTP2_CANCEL));
    stream.once("close", () => {
      body.unpipe(stream);
      body.resume();
    });
  }

  #sessionTo(target: Target, connection: object): ClientHttp2Session {
    const known = this.#sessions.get(connection) ?? new Map<Target, ClientHttp2Session>();
    this.#sessions.set(connection, known);
    const open = known.get(target);
    if (open !== undefined && !open.closed && !open.destroyed) return open;
    const host = target.host.includes(":") ? `[${target.host}]` : target.host;
    const session = connect(`http://${host}:${target.port}`);
    known.set(target, session);
    session.setTimeout(CONNECT_LIMIT_MS, () => {
      session.destroy(new TimeoutError("the app did not answer in time"));
    });
    session.once("connect", () => session.setTimeout(IDLE_LIMIT_MS));
    // Its streams tell what went wrong.
    session.on("error", () => {});
    if ("once" in connection && typeof connection.once === "function") {
      connection.once("close", () => session.destroy());
    }
    return session;
  }
}
