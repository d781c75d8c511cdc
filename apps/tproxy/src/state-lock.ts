import { createServer } from "node:net";
import { mkdir, realpath } from "node:fs/promises";
import { InputError, errorCode, hex, sha256 } from "@dstack/core";

/**
 * Makes sure that only one tproxy works with a state directory, which is made where it is missing: a second one would
 * take over the first one's tunnel. The lock is an abstract socket, which the kernel frees however its process ends.
 * @throws {InputError} it is held
 */
export async function lockState(directory: string): Promise<AsyncDisposable> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const name = `\0dstack-tproxy-${hex(sha256(await realpath(directory))).slice(0, 32)}`;
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(name, resolve);
  }).catch((err: unknown) => {
    if (errorCode(err) !== "EADDRINUSE") throw err;
    throw new InputError(`another tproxy is running with the state directory ${directory}`, { cause: err });
  });
  server.unref();
  return {
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
