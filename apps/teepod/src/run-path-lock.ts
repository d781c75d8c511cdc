import { createServer } from "node:net";
import { InputError, errorCode, hex, sha256 } from "@dstack/core";

/**
 * Holds a directory for one teepod. The lock is a name in the kernel's abstract socket space, so it is gone with its
 * process, however that ends.
 * @param path resolved path of the directory
 * @throws {InputError} another teepod uses it
 */
export async function lockRunPath(path: string): Promise<AsyncDisposable> {
  const server = createServer((socket) => socket.destroy());
  const name = `\0teepod-${hex(sha256(path)).slice(0, 40)}`;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (err) => {
      const inUse = errorCode(err) === "EADDRINUSE";
      reject(inUse ? new InputError(`another teepod already uses ${path}`, { cause: err }) : err);
    });
    server.listen(name, () => resolve());
  });
  server.unref();
  return {
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
      }),
  };
}
