import type { Socket } from "node:net";
import type { CloseReason } from "../data-plane.js";
import { resetConnection } from "./reset.js";

/**
 * Carries bytes between two sockets until both directions are done. An end in one direction ends only that
 * direction; a reset on one side becomes a reset on the other; a slow reader stops the reader opposite.
 */
export class Relay {
  bytesToApp = 0;
  bytesToClient = 0;
  /** `performance.now()` of the last byte in either direction. */
  lastActivity = performance.now();
  readonly finished: Promise<CloseReason>;
  readonly #settle: (reason: CloseReason) => void;
  #openEnds = 2;

  constructor(
    readonly client: Socket,
    readonly app: Socket,
  ) {
    let settle: (reason: CloseReason) => void = () => {};
    this.finished = new Promise((resolve) => (settle = resolve));
    this.#settle = settle;
    this.#pump(client, app, (bytes) => (this.bytesToApp += bytes));
    this.#pump(app, client, (bytes) => (this.bytesToClient += bytes));
    this.#watch(client, app);
    this.#watch(app, client);
  }

  /** One side has said that it sends no more. */
  get halfClosed(): boolean {
    return this.#openEnds < 2;
  }

  end(reason: CloseReason): void {
    this.#settle(reason);
    for (const socket of [this.client, this.app]) {
      // What waits for the app must not be sent once its address is somebody else's.
      if (reason === "drained") reset(socket);
      else socket.destroy();
    }
  }

  #pump(from: Socket, to: Socket, count: (bytes: number) => void): void {
    from.on("data", (chunk: Buffer) => {
      this.lastActivity = performance.now();
      count(chunk.length);
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => {
      this.lastActivity = performance.now();
      from.resume();
    });
    from.once("end", () => {
      this.lastActivity = performance.now();
      this.#openEnds -= 1;
      to.end();
    });
    from.resume();
  }

  #watch(socket: Socket, other: Socket): void {
    socket.on("error", () => {
      this.#settle("reset");
      reset(other);
    });
    socket.once("close", () => {
      if (other.destroyed) {
        this.#settle(this.#openEnds === 0 ? "finished" : "reset");
      } else if (!socket.readableEnded) {
        // Gone without an end of its data: the other side must not take this for a clean one.
        this.#settle("reset");
        reset(other);
      } else {
        // Its own last bytes may still be on their way; it closes when they are out.
        other.destroySoon();
      }
    });
  }
}

/** TLS sockets cannot be reset through Node; a close without close_notify tells their client the same. */
function reset(socket: Socket): void {
  if ("encrypted" in socket) socket.destroy();
  else resetConnection(socket);
}
