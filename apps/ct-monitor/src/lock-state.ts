import { realpath } from "node:fs/promises";
import { createServer } from "node:net";
import { basename, dirname, join } from "node:path";
import { InputError, errorCode, hex, sha256 } from "@dstack/core";

/** Two monitors on one state file would undo each other's places. The kernel frees the lock however its process ends. */
export async function lockState(path: string): Promise<AsyncDisposable> {
  const place = join(await realpath(dirname(path)), basename(path));
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(`\0dstack-ct-monitor-${hex(sha256(place)).slice(0, 32)}`, resolve);
  }).catch((err: unknown) => {
    if (errorCode(err) !== "EADDRINUSE") throw err;
    throw new InputError(`another ct-monitor works with ${path}`, { cause: err });
  });
  server.unref();
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}
