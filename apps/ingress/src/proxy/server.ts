import { once } from "node:events";
import { type IncomingMessage, ServerResponse } from "node:http";
import {
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
  createSecureServer,
} from "node:http2";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import type { ServedCertificate } from "../certificate/live-certificate.js";
import { type Exchange, http1Exchange, http2Exchange } from "./exchange.js";
import { keyExchangeGroups } from "./groups.js";
import {
  DRAIN_LIMIT_MS,
  HANDSHAKE_LIMIT_MS,
  HEADERS_LIMIT_MS,
  IDLE_LIMIT_MS,
  KEEP_ALIVE_MS,
  MAX_CONNECTIONS,
  MAX_HEADERS,
  MAX_HEADER_BYTES,
  MAX_STREAMS,
} from "./limits.js";

export interface Handlers {
  /** Told the status of each reply as it begins. */
  readonly replied: (status: number) => void;
  request(exchange: Exchange): void;
  /** A request to speak another protocol. @param head what came on the connection behind it */
  upgrade(exchange: Exchange, request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** The public side: TLS 1.2 and 1.3 with HTTP/1.1 and HTTP/2 on one port. */
export class PublicServer {
  readonly #server: Http2SecureServer;
  readonly #sockets = new Set<TLSSocket>();
  readonly #sessions = new Set<ServerHttp2Session>();
  #stopping = false;
  port = 0;

  private constructor(
    certificate: ServedCertificate,
    private readonly handlers: Handlers,
  ) {
    this.#server = createSecureServer({
      ...secureContext(certificate),
      allowHTTP1: true,
      handshakeTimeout: HANDSHAKE_LIMIT_MS,
      maxHeaderListPairs: MAX_HEADERS,
      settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_BYTES },
    });
    // Of the HTTP/1 side, which Node's types leave out.
    Object.assign(this.#server, {
      headersTimeout: HEADERS_LIMIT_MS,
      // Uploads may take as long as they go on; silence is limited by the idle time.
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      maxHeadersCount: MAX_HEADERS,
    });
    this.#server.maxConnections = MAX_CONNECTIONS;
    this.#server.setTimeout(IDLE_LIMIT_MS);
    this.#server.on("secureConnection", (socket) => this.#keep(socket));
    this.#server.on("session", (session) => this.#keepSession(session));
    // Each socket and stream has its own handlers; what is left is a client that is gone.
    for (const event of ["tlsClientError", "sessionError"]) this.#server.on(event, () => {});
    this.#server.on("request", (request, response) => {
      handlers.request(this.#exchange(request, response));
    });
    this.#server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const response = new ServerResponse(request);
      // `close` says that nothing after an answer belongs to a next request.
      response.shouldKeepAlive = false;
      response.assignSocket(socket as TLSSocket);
      response.once("finish", () => socket.end());
      socket.on("error", () => {});
      handlers.upgrade(http1Exchange(request, response, this.handlers.replied), request, socket, head);
    });
  }

  static async listen(
    address: { host: string | undefined; port: number },
    certificate: ServedCertificate,
    handlers: Handlers,
  ): Promise<PublicServer> {
    const server = new PublicServer(certificate, handlers);
    server.#server.listen(address);
    await once(server.#server, "listening");
    server.port = (server.#server.address() as AddressInfo).port;
    return server;
  }

  /** For handshakes from now on. Connections that are there go on as they are. */
  setCertificate(certificate: ServedCertificate): void {
    this.#server.setSecureContext(secureContext(certificate));
  }

  /** Takes no new connection, lets requests in flight end for a while, then cuts them. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const session of this.#sessions) session.close();
    for (const socket of this.#sockets) if (!isBusy(socket)) socket.end();
    const cut = setTimeout(() => {
      for (const session of this.#sessions) session.destroy();
      for (const socket of this.#sockets) socket.destroy();
    }, DRAIN_LIMIT_MS);
    await closed;
    clearTimeout(cut);
  }

  #keep(socket: TLSSocket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
  }

  #keepSession(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.once("close", () => this.#sessions.delete(session));
    session.on("error", () => {});
    session.setTimeout(IDLE_LIMIT_MS, () => session.close());
    if (this.#stopping) session.close();
  }

  #exchange(
    request: IncomingMessage | Http2ServerRequest,
    response: ServerResponse | Http2ServerResponse,
  ): Exchange {
    if ("stream" in request && "stream" in response) {
      request.stream.on("error", () => {});
      return http2Exchange(request, response, this.handlers.replied);
    }
    const http1 = response as ServerResponse<IncomingMessage>;
    busy.add(request.socket);
    http1.once("close", () => busy.delete(request.socket));
    http1.on("error", () => {});
    if (this.#stopping) http1.shouldKeepAlive = false;
    http1.once("finish", () => this.#stopping && request.socket.end());
    return http1Exchange(request as IncomingMessage, http1, this.handlers.replied);
  }
}

/** HTTP/1 connections with a request under way. */
const busy = new WeakSet<object>();
const isBusy = (socket: TLSSocket): boolean => socket.alpnProtocol === "h2" || busy.has(socket);

function secureContext({ chainPem, keyPem }: ServedCertificate) {
  return {
    cert: chainPem,
    key: keyPem,
    minVersion: "TLSv1.2" as const,
    ecdhCurve: keyExchangeGroups(),
    honorCipherOrder: true,
  };
}
