import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { ListenOptions } from "node:net";
import { once } from "node:events";

/** Slow or silent clients are cut off after this. */
const REQUEST_TIMEOUT_MS = 10_000;

/** PEM. */
export interface TlsIdentity {
  readonly key: string;
  readonly cert: string;
}

/** Starts an HTTP server, or with an identity an HTTPS server; the handler's rejections are answered with 500 and not lost. */
export async function listen(
  options: ListenOptions,
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
  tls?: TlsIdentity,
): Promise<Server> {
  const settings = { requestTimeout: REQUEST_TIMEOUT_MS };
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    handle(request, response).catch((err: unknown) => {
      if (!response.headersSent) response.writeHead(500, { "content-type": "text/plain" });
      response.end(err instanceof Error ? err.message : "internal error");
    });
  };
  const server =
    tls === undefined ? createServer(settings, answer) : createTlsServer({ ...settings, ...tls }, answer);
  server.listen(options);
  await once(server, "listening"); // rejects on "error"
  return server;
}

/** Stops taking requests and cuts the connections that are open. */
export async function close(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}
