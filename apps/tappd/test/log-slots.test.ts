import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { PassThrough } from "node:stream";
import { connect as connectTls } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { proxyHeader } from "@dstack/tls-proxy/proxy-header";
import { frame } from "./support/fake-engine.js";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const REQUEST = "GET /logs/many?follow HTTP/1.1\r\nhost: x\r\n\r\n";

let guest: Guest;
let ports: { port: number; tlsPort: number };
let streams: PassThrough[];
let sockets: Socket[];
beforeEach(async () => {
  [streams, sockets] = [[], []];
  guest = await bootGuest({ compose: { public_logs: true } });
  guest.engine.logs.set("many", () => {
    const stream = new PassThrough();
    stream.write(frame(1, "x\n"));
    streams.push(stream);
    return { hasTerminal: false, stream };
  });
  ports = (await guest.start()).external;
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await guest[Symbol.asyncDispose]();
});

/** What tproxy sends first for a client of this address. */
function headerFor(address: string): Buffer {
  const port = 40_000 + sockets.length;
  return proxyHeader({ source: { address, port }, destination: { address: "192.0.2.1", port: 443 } }, "x");
}

/** @returns the status of the answer; the connection stays open */
async function ask(socket: Socket, header: Buffer = Buffer.alloc(0)): Promise<number> {
  sockets.push(socket);
  socket.write(Buffer.concat([header, Buffer.from(REQUEST)]));
  const [answer] = (await once(socket, "data")) as [Buffer];
  return Number(/^HTTP\/1\.1 (\d+)/.exec(answer.toString("latin1"))?.[1]);
}

const direct = (): Promise<number> => ask(connect(ports.port, "127.0.0.1"));
const through = (address: string): Promise<number> =>
  ask(connect(ports.port, "127.0.0.1"), headerFor(address));

describe("logs read at once", () => {
  it("E11, P4: one client behind tproxy takes four, whatever its connections, and gives them back", async () => {
    // What one customer has of IPv6 is one client.
    for (let i = 1; i <= 4; i++) expect(await through(`2001:db8::${i}`)).toBe(200);
    expect(await through("2001:db8::5")).toBe(429);
    expect(await through("2001:db8:0:1::5")).toBe(200);
    expect(await through("198.51.100.1")).toBe(200);
    sockets[0]?.destroy();
    await expect.poll(() => through("2001:db8::6")).toBe(200);
  });

  it("E11, P4: all of the world leaves four to who is on tproxy's machine", async () => {
    for (let i = 0; i < 28; i++) expect(await through(`198.51.100.${Math.floor(i / 4)}`)).toBe(200);
    expect(await through("203.0.113.1")).toBe(429);
    for (let i = 0; i < 4; i++) expect(await direct()).toBe(200);
    expect(await direct()).toBe(429);
    const closed = streams.map((stream) => once(stream, "close"));
    for (const socket of sockets) socket.destroy();
    await Promise.all(closed);
    await expect.poll(() => through("203.0.113.1")).toBe(200);
  });

  it("E11, P4: clients are told apart under TLS too, where the header comes before it", async () => {
    const overTls = async (address: string): Promise<number> => {
      const socket = connect(ports.tlsPort, "127.0.0.1");
      socket.write(headerFor(address));
      const tls = connectTls({ socket, rejectUnauthorized: false });
      await once(tls, "secureConnect");
      return ask(tls);
    };
    for (let i = 0; i < 4; i++) expect(await overTls("198.51.100.1")).toBe(200);
    expect(await overTls("198.51.100.1")).toBe(429);
    expect(await through("198.51.100.1")).toBe(429);
    expect(await overTls("198.51.100.2")).toBe(200);
  });

  it("E11: a header comes in any pieces; without one the first byte is the request's", async () => {
    const socket = connect(ports.port, "127.0.0.1").setNoDelay();
    sockets.push(socket);
    const bytes = Buffer.concat([headerFor("198.51.100.1"), Buffer.from(REQUEST)]);
    for (const byte of bytes.subarray(0, 60)) {
      socket.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    socket.write(bytes.subarray(60));
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString("latin1")).toMatch(/^HTTP\/1\.1 200 /);
    const garbage = connect(ports.port, "127.0.0.1");
    sockets.push(garbage);
    garbage.write("PROXY what\r\n\r\n");
    expect(String((await once(garbage, "data"))[0])).toMatch(/^HTTP\/1\.1 400 /);
  });
});
