import { once } from "node:events";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";

export interface Exchange {
  method: string;
  url: URL;
  headers: IncomingMessage["headers"];
  body: string;
}
export interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body: string;
}
export interface TestServer extends AsyncDisposable {
  url: string;
  /** Every request so far. */
  readonly requests: Exchange[];
  /** Decides before the server does: an answer, "hang up", or nothing. */
  fault: ((exchange: Exchange, nth: number) => Answer | "hang up" | undefined) | undefined;
  /** Called after a request has had its effect, before it is answered. */
  afterEffect: ((exchange: Exchange, nth: number) => Promise<void> | void) | undefined;
}

/** An HTTP server on the loopback whose answers a test can replace by faults. */
export async function startServer(
  handle: (exchange: Exchange) => Promise<Answer> | Answer,
): Promise<TestServer> {
  const answerTo = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = "";
    for await (const chunk of request.setEncoding("utf8")) body += String(chunk);
    const url = new URL(request.url ?? "/", "http://test");
    const exchange = { method: request.method ?? "", url, headers: request.headers, body };
    const nth = test.requests.push(exchange);
    const fault = test.fault?.(exchange, nth);
    if (fault === "hang up") return void response.destroy();
    const answer = fault ?? (await handle(exchange));
    if (fault === undefined) await test.afterEffect?.(exchange, nth);
    response.writeHead(answer.status ?? 200, answer.headers).end(answer.body);
  };
  const server = createServer((request, response) => {
    answerTo(request, response).catch((err: unknown) => response.writeHead(500).end(String(err)));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const test: TestServer = {
    url: `http://127.0.0.1:${port}`,
    requests: [],
    fault: undefined,
    afterEffect: undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return test;
}
