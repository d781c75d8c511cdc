import { EventEmitter } from "node:events";
import { PassThrough } from "node:stream";
import type { Server } from "node:net";
import { proxyHeader } from "@dstack/tls-proxy/proxy-header";
import { expect, it } from "vitest";
import { Clients } from "../../src/http/clients.js";

/** A connection of tproxy, which brings a client of this address, to one of our ports. */
function connection(localPort: number, client: string) {
  const socket = new PassThrough();
  const ends = { localAddress: "10.77.0.2", localPort, remoteAddress: "10.77.0.1", remotePort: 40_000 };
  socket.write(
    proxyHeader(
      { source: { address: client, port: 50_000 }, destination: { address: "192.0.2.1", port: 443 } },
      "x",
    ),
  );
  return Object.assign(socket, ends);
}

it("E11, P4: tells clients apart whose connections to both servers come from one address and port of tproxy's", async () => {
  const clients = new Clients();
  const servers = [8090, 8043].map(() => {
    const server = new EventEmitter();
    server.on("connection", (socket: PassThrough) => void socket.resume());
    clients.attach(server as Server);
    return server;
  });
  // The kernel gives two connections of one machine the same port where they go to different ones.
  const [plain, secure] = [connection(8090, "198.51.100.1"), connection(8043, "203.0.113.1")];
  servers[0]?.emit("connection", plain);
  servers[1]?.emit("connection", secure);
  await expect.poll(() => clients.of(secure)).toEqual({ source: "203.0.113.1", throughTproxy: true });
  expect(clients.of(plain)).toEqual({ source: "198.51.100.1", throughTproxy: true });
  plain.destroy();
  await expect.poll(() => clients.of(plain).throughTproxy).toBe(false);
  expect(clients.of(secure)).toEqual({ source: "203.0.113.1", throughTproxy: true });
});
