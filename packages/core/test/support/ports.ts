import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";

/** Below the ports that the kernel gives to whoever asks for any (32768 and above). */
const [LOWEST, PORTS] = [12_000, 20_000];
/** Of each worker of the test runner, whose tests run beside those of the others. */
const SHARE = 1_000;

const worker = Number(process.env["VITEST_POOL_ID"] ?? 0) % (PORTS / SHARE);
let next = Math.floor(Math.random() * SHARE);

/**
 * A port that nobody listens on, for a program that has to be told one. Nobody gets it in the meantime: the kernel gives
 * away higher ones only, and other workers have others.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < SHARE; tries++) {
    const port = LOWEST + worker * SHARE + (next++ % SHARE);
    const server = createServer().listen(port);
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    );
    server.close();
    if (isFree) return port;
  }
  throw new Error("no port is free");
}

/**
 * A port of 127.0.0.1 on which nobody listens, nor can anybody until it is disposed: it is our end of a connection, and
 * one that was closed before would soon be another test's.
 */
export async function closedPort(): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [[other]] = await Promise.all([once(server, "connection"), once(socket, "connect")]);
  server.close();
  return {
    port: socket.localPort ?? 0,
    async [Symbol.asyncDispose]() {
      socket.destroy();
      other.destroy();
      await once(server, "close");
    },
  };
}
