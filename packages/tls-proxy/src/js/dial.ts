import { connect, isIP } from "node:net";
import type { Socket } from "node:net";
import type { Backend } from "../data-plane.js";

/** Starts a connection to an app. A test may lead it elsewhere. */
export type Dial = (address: { readonly host: string; readonly port: number }) => Socket;

/** How many instances are tried for one connection. */
const CONTESTANTS = 3;
/** A later instance starts when the one before it has not answered in this time, or has failed. */
const HEAD_START_MS = 200;

/** Connects by TCP, without Nagle's delay. Refuses names: nothing here asks DNS. */
export const dialTcp: Dial = ({ host, port }) => {
  if (isIP(host) === 0) throw new Error("a backend has an IP address");
  return connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true });
};

export interface Connected {
  readonly socket: Socket;
  readonly backend: Backend;
}

/**
 * Connects to the first of the preferred instances that answers: the freshest has a head start, the next one or two
 * run after it. The losers are closed.
 * @returns undefined when none answers in time, or the signal aborts
 */
export function raceToConnect(
  backends: readonly Backend[],
  port: number,
  options: { dial: Dial; limitMs: number; signal: AbortSignal },
): Promise<Connected | undefined> {
  const contestants = backends.slice(0, CONTESTANTS);
  return new Promise((resolve) => {
    const running = new Set<Socket>();
    let next = 0;
    let headStart: NodeJS.Timeout | undefined;
    const finish = (winner: Connected | undefined): void => {
      clearTimeout(limit);
      clearTimeout(headStart);
      options.signal.removeEventListener("abort", lost);
      for (const socket of running) if (socket !== winner?.socket) socket.destroy();
      next = contestants.length;
      running.clear();
      resolve(winner);
    };
    const lost = (): void => finish(undefined);
    const startNext = (): void => {
      clearTimeout(headStart);
      const backend = contestants[next++];
      if (backend === undefined) {
        if (running.size === 0) finish(undefined);
        return;
      }
      let socket: Socket;
      try {
        socket = options.dial({ host: backend.host, port });
      } catch {
        startNext();
        return;
      }
      running.add(socket);
      headStart = setTimeout(startNext, HEAD_START_MS);
      const failed = (): void => {
        if (running.delete(socket)) startNext();
      };
      socket.on("error", failed);
      socket.once("close", failed);
      socket.once("connect", () => {
        if (!running.has(socket)) return;
        socket.off("close", failed);
        finish({ socket, backend });
      });
    };
    const limit = setTimeout(lost, options.limitMs);
    options.signal.addEventListener("abort", lost, { once: true });
    if (options.signal.aborted) lost();
    else startNext();
  });
}
