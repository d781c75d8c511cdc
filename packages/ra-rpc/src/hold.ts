import type { Server, TLSSocket } from "node:tls";

/**
 * Puts a judgement between a server's handshake and its HTTP parser: a connection reaches the parser only after the
 * judgement resolved, and nothing is read from it before. A judgement that rejects drops the connection.
 */
export function holdUntilAdmitted(server: Server, judge: (socket: TLSSocket) => Promise<void>): void {
  const deliverTo = server.listeners("secureConnection");
  server.removeAllListeners("secureConnection");

  const admit = async (socket: TLSSocket): Promise<void> => {
    await judge(socket);
    if (socket.destroyed) return;
    for (const listener of deliverTo) listener.call(server, socket);
  };

  server.on("secureConnection", (socket) => {
    // The HTTP server has its own error listener; until it is there an early reset must not end the process.
    const onEarlyError = (): void => void socket.destroy();
    socket.on("error", onEarlyError);
    admit(socket)
      .catch(() => socket.destroy())
      .finally(() => socket.off("error", onEarlyError));
  });
}
