import { once } from "node:events";
import { createConnection, createServer } from "node:net";
import type { Dial } from "@dstack/tls-proxy";

/** An app on loopback that says `hello` and keeps the connection, and what leads a proxy's connections to it. */
export async function startApp(): Promise<AsyncDisposable & { readonly dial: Dial }> {
  const app = createServer((socket) => socket.on("error", () => {}).write("hello"));
  app.listen(0, "127.0.0.1");
  await once(app, "listening");
  const { port } = app.address() as { port: number };
  return {
    dial: () => createConnection({ port, host: "127.0.0.1", allowHalfOpen: true }),
    [Symbol.asyncDispose]: async () => void app.close(),
  };
}
