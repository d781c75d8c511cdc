import { type IncomingMessage, request as httpRequest } from "node:http";
import type { Duplex } from "node:stream";
import { TimeoutError } from "@dstack/core";
import type { Target } from "../settings/target.js";
import type { Exchange } from "./exchange.js";
import { endToEnd, forwardedHeaders } from "./headers.js";
import { CONNECT_LIMIT_MS, IDLE_LIMIT_MS } from "./limits.js";

/** Whether an upgrade is one we pass on. Others, `h2c` above all, would hide the requests that follow from us. */
export function isWebSocket(request: IncomingMessage): boolean {
  return request.method === "GET" && request.headers.upgrade?.toLowerCase() === "websocket";
}

/**
 * Passes a WebSocket's opening on; once the target agrees, bytes go both ways until either side ends.
 * @param exchange answers when the target does not agree
 * @param client the connection, @param head what came on it behind the request
 */
export function forwardWebSocket(
  exchange: Exchange,
  client: Duplex,
  head: Buffer,
  target: Target,
  fail: (err: Error) => void,
): void {
  const { authority, address } = exchange;
  const outgoing = httpRequest({
    host: target.host,
    port: target.port,
    method: "GET",
    path: exchange.target,
    headers: {
      ...forwardedHeaders(exchange.headers, { authority, address }),
      host: authority,
      connection: "Upgrade",
      upgrade: "websocket",
    },
    agent: false,
    timeout: CONNECT_LIMIT_MS,
  });
  outgoing.once("timeout", () => outgoing.destroy(new TimeoutError("the app did not answer in time")));
  outgoing.once("upgrade", (response, socket, rest) => {
    client.write(switchingProtocols(response));
    socket.setTimeout(IDLE_LIMIT_MS, () => socket.destroy());
    if (rest.length > 0) client.write(rest);
    if (head.length > 0) socket.write(head);
    for (const [end, other] of [
      [client, socket],
      [socket, client],
    ] as const) {
      end.once("error", () => other.destroy());
      end.once("close", () => other.destroy());
      end.pipe(other);
    }
  });
  outgoing.once("response", (response) => {
    const { statusCode: status = 502, headers } = response;
    exchange.reply({ status, headers: endToEnd(headers), body: response });
  });
  outgoing.on("error", fail);
  client.once("close", () => outgoing.destroy());
  outgoing.end();
}

function switchingProtocols(response: IncomingMessage): string {
  const headers = Object.entries(endToEnd(response.headers)).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => `${name}: ${String(one)}\r\n`),
  );
  return `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n${headers.join("")}\r\n`;
}
