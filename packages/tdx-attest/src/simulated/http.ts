import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { ListenOptions } from "node:net";
import { once } from "node:events";

/** Slow or silent clients are cut off after this. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Starts an HTTP server; the handler's rejections are answered with 500 and not lost. */
export async function listen(
  options: ListenOptions,
  handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>,
): Promise<Server> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    handle(request, response).catch((err: unknown) => {
      if (!response.headersSent) response.writeHead(500, { "content-type": "text/plain" });
      response.end(err instanceof Error ? err.message : "internal error");
    });
  });
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
