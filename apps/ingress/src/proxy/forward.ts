import { type IncomingMessage, type OutgoingHttpHeaders, request as httpRequest } from "node:http";
import { TimeoutError } from "@dstack/core";
import type { Target } from "../settings/target.js";
import type { Exchange } from "./exchange.js";
import { endToEnd, forwardedHeaders } from "./headers.js";
import { CONNECT_LIMIT_MS, IDLE_LIMIT_MS } from "./limits.js";

/**
 * There are methods for which Node frames no body unless it is told how. Said here whatever became of the client's own
 * header: one that it names in `Connection` is not passed on.
 */
function framing({ headers }: Exchange): OutgoingHttpHeaders {
  const length = headers["content-length"];
  return length === undefined ? { "transfer-encoding": "chunked" } : { "content-length": length };
}

/**
 * Passes a request on over HTTP/1.1 and its answer back, both as they come in. Each has a connection to the target of
 * its own: there is no later request on it that a wrongly framed one could reach into.
 * @param fail told why no answer came; called at most once, and never after an answer has begun
 * @throws a request that HTTP/1.1 cannot say
 */
export function forwardHttp1(exchange: Exchange, target: Target, fail: (err: Error) => void): void {
  const { authority, address, method, body } = exchange;
  const outgoing = httpRequest({
    host: target.host,
    port: target.port,
    method,
    path: exchange.target,
    headers: {
      ...forwardedHeaders(exchange.headers, { authority, address }),
      host: authority,
      ...(body === undefined ? {} : framing(exchange)),
    },
    agent: false,
    timeout: CONNECT_LIMIT_MS,
  });
  outgoing.once("socket", (socket) => {
    socket.once("connect", () => socket.setTimeout(IDLE_LIMIT_MS));
  });
  outgoing.once("timeout", () => outgoing.destroy(new TimeoutError("the app did not answer in time")));
  outgoing.once("response", (response: IncomingMessage) => {
    try {
      const { statusCode: status = 502, headers } = response;
      exchange.reply({ status, headers: endToEnd(headers), body: response });
    } catch (err) {
      outgoing.destroy(err as Error);
    }
  });
  outgoing.on("error", (err) => {
    if (exchange.answered) exchange.abort();
    else fail(err);
  });
  exchange.onClose(() => outgoing.destroy());
  if (body === undefined) {
    outgoing.end();
    return;
  }
  // Not `pipeline`: a target that is not there must not take the client's connection with it.
  body.pipe(outgoing);
  body.once("error", () => outgoing.destroy());
  outgoing.once("close", () => {
    body.unpipe(outgoing);
    body.resume();
  });
}
