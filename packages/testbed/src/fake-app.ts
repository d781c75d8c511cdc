import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { fromHex, hex } from "@dstack/core";
import { Client } from "undici";

/** FAKE. What the example's container does, in this process: a page, and a quote through tappd's real socket. */
export async function startFakeApp(
  name: string,
  tappdSocket: string,
): Promise<AsyncDisposable & { port: number }> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://app");
    const nonce = url.searchParams.get("nonce");
    if (url.pathname === "/") {
      response.end(`hello from ${name}`);
    } else if (url.pathname === "/quote" && nonce !== null) {
      quote(tappdSocket, nonce).then(
        (body) => response.end(body),
        () => response.writeHead(502).end(),
      );
    } else {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function quote(socketPath: string, nonce: string): Promise<string> {
  const client = new Client("http://localhost", { socketPath });
  try {
    const answer = await client.request({
      method: "POST",
      path: "/prpc/Tappd.TdxQuote?json",
      body: JSON.stringify({ report_data: hex(fromHex(nonce, "nonce")) }),
    });
    return await answer.body.text();
  } finally {
    await client.close();
  }
}
