import { once } from "node:events";
import { type Server, type Socket, connect, createServer } from "node:net";
import { errorCode } from "./errors.js";
import { withDeadline } from "./time.js";

/**
 * Runs work while no other process of this network namespace, and nothing else in this one, holds the lock.
 * The lock is a listening socket in the abstract namespace (unix(7)): the kernel lets go of it when its owner ends,
 * however it ends, so that there is no stale lock file to judge. Those who wait connect and are told by the hang-up.
 * @param name at most 100 characters
 * @throws {TimeoutError} the lock was not free within `timeoutMs`
 */
export async function withProcessLock<T>(
  name: string,
  timeoutMs: number,
  work: () => Promise<T>,
): Promise<T> {
  const lock = await withDeadline(`waiting for ${name}`, timeoutMs, (signal) => acquire(`\0${name}`, signal));
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

interface Lock {
  release(): Promise<void>;
}

async function acquire(path: string, signal: AbortSignal): Promise<Lock> {
  for (;;) {
    signal.throwIfAborted();
    const lock = await tryAcquire(path);
    if (lock !== undefined) {
      if (!signal.aborted) return lock;
      await lock.release();
      continue;
    }
    await ownerGone(path, signal);
  }
}

async function tryAcquire(path: string): Promise<Lock | undefined> {
  const waiting = new Set<Socket>();
  const server: Server = createServer((socket) => {
    waiting.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => waiting.delete(socket));
  });
  server.listen({ path });
  try {
    await once(server, "listening");
  } catch (err) {
    if (errorCode(err) === "EADDRINUSE") return undefined;
    throw err;
  }
  return {
    async release() {
      const closed = once(server, "close");
      server.close();
      for (const socket of waiting) socket.destroy();
      await closed;
    },
  };
}

/** Settles when the owner hangs up, or at once when there is none any more. */
async function ownerGone(path: string, signal: AbortSignal): Promise<void> {
  const socket = connect({ path });
  const stop = (): void => void socket.destroy();
  signal.addEventListener("abort", stop, { once: true });
  socket.on("error", stop); // refused or reset: it says no more than "close", which follows
  socket.resume();
  await new Promise((resolve) => socket.once("close", resolve));
  signal.removeEventListener("abort", stop);
}
