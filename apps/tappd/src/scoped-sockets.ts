import { lstat, mkdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "@dstack/core";
import { listenHttp } from "@dstack/daemon";
import type { Listener } from "@dstack/daemon";
import type { FastifyInstance } from "fastify";

/** Any container a socket is mounted into may use it, whatever user it runs as. */
export const SOCKET_MODE = 0o666;

/**
 * Listens on `<scopedDir>/<name>/tappd.sock` (G7). Containers mount that directory: what they see in it is the present
 * socket, after a restart too. One that may write there may leave anything in it, a socket of its own or a
 * directory of that name, so the socket is made outside of their reach and put over what is there.
 */
export async function listenScoped(app: FastifyInstance, scopedDir: string, name: string): Promise<Listener> {
  const directory = join(scopedDir, name);
  await mkdir(directory, { recursive: true, mode: 0o755 });
  const made = join(scopedDir, `.${name}`);
  const path = join(directory, "tappd.sock");
  const listener = await listenHttp({ app, address: { path: made, mode: SOCKET_MODE } });
  try {
    const { ino } = await lstat(made);
    await putOver(made, path, join(scopedDir, `.${name}.${process.pid}.left`));
    return {
      address: path,
      port: 0,
      async [Symbol.asyncDispose]() {
        const now = await lstat(path).catch(() => undefined);
        if (now?.ino === ino) await unlink(path).catch(() => {});
        await listener[Symbol.asyncDispose]();
      },
    };
  } catch (err) {
    await listener[Symbol.asyncDispose]();
    throw err;
  }
}

/** @param aside where a directory goes that has the name: its content stays whoever's it is */
async function putOver(made: string, path: string, aside: string): Promise<void> {
  try {
    await rename(made, path);
  } catch (err) {
    if (errorCode(err) !== "EISDIR") throw err;
    await rename(path, aside);
    await rename(made, path);
  }
}
