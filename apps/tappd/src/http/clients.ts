import type { Server, Socket } from "node:net";
import { sourceKey } from "@dstack/core";
import { parseProxyHeader } from "@dstack/tls-proxy/proxy-header";

/** tproxy sends the header with the connection; who comes directly may be slow to ask. */
const FIRST_BYTES_MS = 30_000;

/** Who asks, over one of the external listeners. */
export interface Client {
  /** An IPv4 address, or an IPv6 network of one customer. */
  readonly source: string;
  /** Whether tproxy brings it. Else it is on tproxy's own machine, or in this VM. */
  readonly throughTproxy: boolean;
}

/** The ends of a connection, as plain and TLS sockets know them. */
type Peer = Pick<Socket, "localAddress" | "localPort" | "remoteAddress" | "remotePort">;

/**
 * Tells clients behind tproxy apart: the guest has tproxy begin its connections to tappd with a header of the PROXY
 * protocol. A connection without one is taken as it is. Containers can write such a header too; they harm nobody but
 * their own app's callers.
 */
export class Clients {
  readonly #sources = new Map<string, string>();

  /** Reads the headers of a server's connections from now on, before HTTP or TLS see a byte. */
  attach(server: Server): void {
    const deliverTo = server.listeners("connection");
    server.removeAllListeners("connection");
    server.on("connection", (socket: Socket) => {
      this.#readHeader(socket, () => {
        for (const listener of deliverTo) listener.call(server, socket);
      });
    });
  }

  of(peer: Peer): Client {
    const source = this.#sources.get(nameOf(peer));
    return { source: source ?? sourceKey(peer.remoteAddress ?? ""), throughTproxy: source !== undefined };
  }

  #readHeader(socket: Socket, deliver: () => void): void {
    const name = nameOf(socket);
    let bytes: Buffer = Buffer.alloc(0);
    const limit = setTimeout(() => socket.destroy(), FIRST_BYTES_MS);
    const leave = (): void => void socket.destroy();
    const read = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      bytes = Buffer.concat([bytes, chunk]);
      const header = parseProxyHeader(bytes);
      if (header.kind === "more") return;
      clearTimeout(limit);
      socket.off("readable", read).off("end", leave).off("error", leave);
      // Without a header it is for HTTP or TLS to judge.
      const whole = header.kind === "whole";
      const rest = whole ? bytes.subarray(header.length) : bytes;
      if (rest.length > 0) socket.unshift(rest);
      if (whole && header.addresses !== undefined) {
        this.#sources.set(name, sourceKey(header.addresses.source.address));
        socket.once("close", () => this.#sources.delete(name));
      }
      deliver();
    };
    socket.once("close", () => clearTimeout(limit));
    socket.on("readable", read).on("end", leave).on("error", leave);
  }
}

/** All four: the kernel gives two connections of tproxy's the same port where they go to different ones of ours. */
const nameOf = ({ localAddress, localPort, remoteAddress, remotePort }: Peer): string =>
  `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
