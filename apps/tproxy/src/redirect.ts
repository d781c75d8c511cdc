import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { CountLimit, sourceKey } from "@dstack/core";
import { parseServerName } from "@dstack/tls-proxy";
import type { ServerName } from "@dstack/tls-proxy";

export interface RedirectOptions {
  readonly host: string;
  /** 0 for a free one. */
  readonly port: number;
  /** The port under which the world reaches the proxy. */
  readonly httpsPort: number;
  readonly isRouted: (name: ServerName, source: string) => Promise<boolean>;
}

/** From the first byte to the last of a request; one answer ends the connection. */
const REQUEST_LIMIT_MS = 5_000;
const MAX_HEADER_BYTES = 8 * 1024;
const CONNECTIONS = 1_000;
const CONNECTIONS_PER_SOURCE = 20;

/** Answers plain HTTP: 308 to HTTPS for names that are routed, 404 for all others. */
export async function listenRedirect(
  options: RedirectOptions,
): Promise<AsyncDisposable & { readonly port: number }> {
  const sources = new CountLimit(CONNECTIONS_PER_SOURCE);
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: REQUEST_LIMIT_MS,
      requestTimeout: REQUEST_LIMIT_MS,
      connectionsCheckingInterval: 1_000,
      keepAlive: false,
    },
    (request, response) => {
      void answer(request, options).then(({ status, headers }) => {
        response.writeHead(status, { ...headers, "content-length": 0, connection: "close" }).end();
      });
    },
  );
  server.maxConnections = CONNECTIONS;
  server.on("connection", (socket) => {
    const leave = sources.enter(sourceKey(socket.remoteAddress ?? ""));
    if (leave === undefined) socket.resetAndDestroy();
    else socket.once("close", leave);
  });
  server.listen(options.port, options.host);
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

interface Answer {
  readonly status: 308 | 400 | 404;
  readonly headers: Record<string, string>;
}

/** Never rejects. */
async function answer(request: IncomingMessage, options: RedirectOptions): Promise<Answer> {
  const name = parseServerName((request.headers.host ?? "").replace(/:\d{1,5}$/, ""));
  const path = request.url ?? "";
  // Not the form for proxies, `GET http://…`, nor `OPTIONS *`: what follows the name has to be a path.
  if (name === undefined || !path.startsWith("/")) return { status: 400, headers: {} };
  const source = sourceKey(request.socket.remoteAddress ?? "");
  if (!(await options.isRouted(name, source).catch(() => false))) return { status: 404, headers: {} };
  const port = options.httpsPort === 443 ? "" : `:${options.httpsPort}`;
  return { status: 308, headers: { location: `https://${name}${port}${path}` } };
}
