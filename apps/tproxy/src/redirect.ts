import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo, Socket } from "node:net";
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
/** A connection altogether, in which DNS may be asked. */
const CONNECTION_LIMIT_MS = 12_000;
const CONNECTIONS = 1_000;
const CONNECTIONS_PER_SOURCE = 20;

export interface Redirect extends AsyncDisposable {
  readonly port: number;
  /** Stops listening, or listens again on the same port, as the data plane does: nobody is sent to a port that refuses. */
  setAccepting(accepting: boolean): Promise<void>;
}

/** Answers plain HTTP: 308 to HTTPS for names that are routed, 404 for all others. */
export async function listenRedirect(options: RedirectOptions): Promise<Redirect> {
  const sockets = new Set<Socket>();
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
    if (leave === undefined) {
      socket.resetAndDestroy();
      return;
    }
    // A server that has stopped listening looks at none of its own limits.
    const limit = setTimeout(() => socket.destroy(), CONNECTION_LIMIT_MS);
    sockets.add(socket);
    socket.once("close", () => {
      leave();
      clearTimeout(limit);
      sockets.delete(socket);
    });
  });
  const listen = async (port: number): Promise<number> => {
    server.listen(port, options.host);
    await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  const port = await listen(options.port);
  return {
    port,
    async setAccepting(accepting) {
      if (accepting === server.listening) return;
      if (accepting) await listen(port);
      else server.close();
    },
    async [Symbol.asyncDispose]() {
      server.close();
      for (const socket of sockets) socket.destroy();
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
