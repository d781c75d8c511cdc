import { randomBytes } from "node:crypto";
import { chmod, lstat, rename, unlink } from "node:fs/promises";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { dirname, join } from "node:path";
import { CodedError, errorCode } from "@dstack/core";
import type { FastifyInstance } from "fastify";

/**
 * Where a listener listens: a TCP address (port 0 = any free one), a unix socket with permission bits, or a unix
 * socket that is listened on already (`inheritedSockets`), whose path is only told.
 */
export type ListenAddress =
  { host: string; port: number } | { path: string; mode: number } | { path: string; fd: number };

export interface Listener extends AsyncDisposable {
  /** The IP address, or the path of the unix socket. */
  readonly address: string;
  /** The TCP port; 0 for a unix socket. */
  readonly port: number;
}

export class ListenError extends CodedError<"in_use" | "not_a_unix_socket"> {
  override name = "ListenError";
}

/** How long requests in flight may take to finish once the listener is closed; then their connections are cut. */
const CLOSE_GRACE_MS = 2_000;

async function somebodyListens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

/**
 * Binds beside the wanted path, sets the mode, then renames: the socket is never visible with other permissions, and
 * a stale one left by a crash is replaced.
 */
async function bindUnix(app: FastifyInstance, path: string, mode: number): Promise<() => Promise<void>> {
  if (await somebodyListens(path))
    throw new ListenError("in_use", `another process already listens on ${path}`);
  const temporary = join(dirname(path), `.${randomBytes(3).toString("hex")}`);
  await app.listen({ path: temporary });
  try {
    await chmod(temporary, mode);
    const { ino } = await lstat(temporary);
    await rename(temporary, path);
    return async () => {
      // A successor may have put its own socket there while we were closing.
      const now = await lstat(path).catch(() => undefined);
      if (now?.ino === ino) await unlink(path).catch(() => {});
    };
  } catch (err) {
    await app.close();
    throw err;
  }
}

async function bindInherited(app: FastifyInstance, path: string, fd: number): Promise<void> {
  const wrong = (cause?: unknown): ListenError =>
    new ListenError(
      "not_a_unix_socket",
      `descriptor ${fd} for ${path} is no unix socket that is listened on: check the socket unit`,
      { path, fd },
      { cause },
    );
  const { server } = app;
  const close = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
    await closed;
  };
  // fastify listens on paths and ports only, and closes only what it listens on.
  app.addHook("onClose", close);
  await app.ready();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ fd }, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (err) {
    throw wrong(err);
  }
  // Whoever reaches a unix socket was let in by its permissions; a port would let in the whole network.
  if (server.address() !== null) {
    await app.close();
    throw wrong();
  }
}

async function bindTcp(app: FastifyInstance, host: string, port: number): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (err) {
    if (errorCode(err) !== "EADDRINUSE") throw err;
    throw new ListenError(
      "in_use",
      `port ${port} of ${host} is already in use`,
      { host, port },
      { cause: err },
    );
  }
}

/**
 * Starts listening. Disposing stops accepting, lets requests in flight finish for two seconds, cuts the rest
 * (streams and WebSockets included) and closes the application.
 * @throws {ListenError} somebody else listens there, or an inherited descriptor is not what it should be
 */
export async function listenHttp(options: {
  app: FastifyInstance;
  address: ListenAddress;
}): Promise<Listener> {
  const { app, address } = options;
  const sockets = new Set<Socket>();
  app.server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  let unbind: (() => Promise<void>) | undefined;
  if ("fd" in address) await bindInherited(app, address.path, address.fd);
  else if ("path" in address) unbind = await bindUnix(app, address.path, address.mode);
  else await bindTcp(app, address.host, address.port);

  const bound = app.server.address();
  return {
    address:
      "path" in address
        ? address.path
        : typeof bound === "object" && bound !== null
          ? bound.address
          : address.host,
    port: typeof bound === "object" && bound !== null ? bound.port : 0,
    async [Symbol.asyncDispose]() {
      await unbind?.();
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, CLOSE_GRACE_MS);
      try {
        await app.close();
      } finally {
        clearTimeout(cut);
      }
    },
  };
}
