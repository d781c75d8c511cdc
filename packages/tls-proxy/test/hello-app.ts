// An app that answers the first bytes of each connection with "hello", and its end with an end; in a process of its own,
// for the descriptors. Tells its port on stdout.
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  socket.once("data", () => socket.write("hello"));
  socket.on("end", () => socket.end());
  socket.resume();
});
server.listen({ port: 0, host: "127.0.0.1", backlog: 4_096 }, () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
