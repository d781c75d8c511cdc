import type { Socket } from "node:net";

/**
 * Ends a connection by a reset, at once or when the end of our side that is just being sent is out, a turn of the event loop
 * later. Between `end()` and then, `resetAndDestroy()` of Node.js 20 fails with EINVAL and leaves the descriptor open for ever:
 * there is never a "close", and at its end the process spins.
 */
export function resetConnection(socket: Socket): void {
  if (socket.destroyed) return;
  const isEnding = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (isEnding) socket.once("finish", () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}
