import type { Server, Socket } from "node:net";
import { CountLimit, sourceKey } from "@dstack/core";

/**
 * Closes connections beyond a number, all together and by source, before anything is done for them. Several servers
 * can share the counts.
 */
export function limitConnections(limits: { all: number; perSource: number }): (server: Server) => void {
  const all = new CountLimit(limits.all);
  const sources = new CountLimit(limits.perSource);
  const enter = (address: string): (() => void) | undefined => {
    const leaveAll = all.enter("");
    const leaveSource = leaveAll && sources.enter(sourceKey(address));
    if (leaveSource === undefined) leaveAll?.();
    return (
      leaveSource &&
      (() => {
        leaveSource();
        leaveAll?.();
      })
    );
  };
  return (server) => {
    const deliverTo = server.listeners("connection");
    server.removeAllListeners("connection");
    server.on("connection", (socket: Socket) => {
      const leave = enter(socket.remoteAddress ?? "");
      if (leave === undefined) {
        socket.destroy();
        return;
      }
      socket.once("close", leave);
      for (const listener of deliverTo) listener.call(server, socket);
    });
  };
}
