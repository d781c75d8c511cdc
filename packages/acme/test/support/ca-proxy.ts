import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { createServer, request } from "node:https";
import type { Pebble } from "./pebble.js";

export interface CaAnswer {
  status: number;
  headers: Record<string, string>;
  body: Buffer | string;
}

export interface CaProxy extends AsyncDisposable {
  directory: string;
  /** Paths asked for so far, with methods: `POST /order-plz`. */
  readonly asked: string[];
  /** What was signed in the requests to a path (RFC 8555 §6.2), oldest first. */
  payloads(path: string): unknown[];
  /** Answers in Pebble's place. */
  fault: ((path: string) => CaAnswer | "hang up" | undefined) | undefined;
  /** Changes an answer of Pebble's. */
  rewrite: ((path: string, answer: CaAnswer) => CaAnswer) | undefined;
}

/** Stands before Pebble, so that a test can make the CA fail, limit, lie or offer renewal information. */
export async function startCaProxy(pebble: Pebble): Promise<CaProxy> {
  const forward = async (incoming: IncomingMessage, body: Buffer): Promise<CaAnswer> => {
    const { method, url, headers } = incoming;
    // Pebble makes its URLs, and checks those in signatures, by the Host header.
    const sent = request({
      host: "127.0.0.1",
      port: pebble.port,
      ca: pebble.rootPem,
      method,
      path: url,
      headers,
    });
    sent.end(body);
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    const parts: Buffer[] = [];
    for await (const part of answer as AsyncIterable<Buffer>) parts.push(part);
    const kept = Object.entries(answer.headers).filter(([name]) => name !== "transfer-encoding");
    return {
      status: answer.statusCode ?? 500,
      headers: Object.fromEntries(kept.map(([name, value]) => [name, String(value)])),
      body: Buffer.concat(parts),
    };
  };
  const signed: { path: string; payload: unknown }[] = [];
  const server = createServer({ cert: pebble.tls.cert, key: pebble.tls.key }, (incoming, response) => {
    const work = async (): Promise<void> => {
      const parts: Buffer[] = [];
      for await (const part of incoming as AsyncIterable<Buffer>) parts.push(part);
      const path = `${incoming.method} ${incoming.url}`;
      proxy.asked.push(path);
      const payload = signedPayload(Buffer.concat(parts));
      if (payload !== undefined) signed.push({ path, payload });
      const fault = proxy.fault?.(path);
      if (fault === "hang up") return void response.destroy();
      let answer = fault ?? (await forward(incoming, Buffer.concat(parts)));
      if (proxy.rewrite !== undefined && fault === undefined) answer = proxy.rewrite(path, answer);
      const { "content-length": _, ...headers } = answer.headers;
      response.writeHead(answer.status, headers).end(incoming.method === "HEAD" ? undefined : answer.body);
    };
    work().catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const proxy: CaProxy = {
    directory: `https://127.0.0.1:${port}/dir`,
    asked: [],
    payloads: (path) => signed.filter((one) => one.path === path).map(({ payload }) => payload),
    fault: undefined,
    rewrite: undefined,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return proxy;
}

function signedPayload(body: Buffer): unknown {
  if (body.length === 0) return undefined;
  const { payload } = JSON.parse(body.toString("utf8")) as { payload: string };
  return payload === "" ? undefined : JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
}
