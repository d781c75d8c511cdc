import { once } from "node:events";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { connect } from "node:tls";
import { describe, expect, it } from "vitest";
import { appIdOf, dial, exchange, guest, listen } from "./site.js";

/** A connection to the server that asks for nothing, or undefined when it is closed at once. */
async function idle(port: number, localAddress: string): Promise<Socket | undefined> {
  const below = createConnection({ port, host: "127.0.0.1", localAddress }).on("error", () => {});
  const socket = connect({ socket: below, rejectUnauthorized: false, ALPNProtocols: ["h2", "http/1.1"] });
  socket.on("error", () => {});
  return once(socket.resume(), "secureConnect").then(
    () => socket,
    () => undefined,
  );
}

describe("connections of strangers", () => {
  it("K1: one source cannot take the connections of others, and gets its own back", async () => {
    await using server = await listen({ limits: { maxPerSource: 2 } });
    const port = server.port;
    const held = [await idle(port, "127.0.0.66"), await idle(port, "127.0.0.66")];
    expect(held).not.toContain(undefined);
    expect(await idle(port, "127.0.0.66")).toBeUndefined();
    const { key, certChain } = await guest();
    const request =
      "POST /prpc/KMS.GetAppKey HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const answer = await exchange(await dial(port, { key, cert: certChain }), request);
    expect(answer).toContain(appIdOf("app"));
    held[0]?.destroy();
    await expect.poll(async () => (await idle(port, "127.0.0.66"))?.destroy() !== undefined).toBe(true);
    held[1]?.destroy();
  });

  it("K1: all together are limited, over HTTP and gRPC", async () => {
    await using server = await listen({ grpcPort: 0, limits: { maxConnections: 2 } });
    const held = [await idle(server.port, "127.0.0.2"), await idle(server.grpcPort ?? 0, "127.0.0.3")];
    expect(held).not.toContain(undefined);
    expect(await idle(server.port, "127.0.0.4")).toBeUndefined();
    expect(await idle(server.grpcPort ?? 0, "127.0.0.5")).toBeUndefined();
    for (const socket of held) socket?.destroy();
    await expect.poll(async () => (await idle(server.port, "127.0.0.4"))?.destroy() !== undefined).toBe(true);
  });
});
