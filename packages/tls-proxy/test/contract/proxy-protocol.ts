import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import type { ConnectionReport, DataPlane } from "../../src/index.js";
import { parseProxyHeader } from "../../src/proxy-header.js";
import {
  APP,
  backend,
  BASE,
  closeOf,
  connectTcp,
  connectThrough,
  portOf,
  readAll,
  routesTo,
  startApp,
  startTlsApp,
} from "../apps.js";
import { binary } from "../proxy-headers.js";
import { answerAfterEnd, expectWholeExchange, answerTo, helloFor } from "./common.js";
import type { Start } from "./common.js";

/** Balancers in front, and apps that want to know who the client is. */
export function proxyProtocolContract(start: Start): void {
  describe("the PROXY protocol", () => {
    const behindBalancer = (from: string[], more: object = {}): Promise<DataPlane> =>
      start({ listeners: [{ host: "127.0.0.1", port: 0, proxyProtocolFrom: from }], ...more });
    const told = Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.2 56250 443\r\n");

    it.each<[string, Buffer, (bytes: Buffer) => Buffer[]]>([
      ["version 1, in one piece", told, (bytes) => [bytes]],
      ["version 1, byte by byte", told, (bytes) => [...bytes].map((byte) => Buffer.of(byte))],
      ["version 2", binary(0x21, 0x11, "c0000201c6336402dbba01bb"), (bytes) => [bytes]],
    ])("takes the client's address from a balancer: %s", async (_, header, cut) => {
      const seen: ConnectionReport[] = [];
      await using app = await startTlsApp(answerAfterEnd);
      await using plane = await behindBalancer(["192.0.2.7", "127.0.0.0/8"], {
        onConnection: (report: ConnectionReport) => seen.push(report),
      });
      const client = await connectThrough(plane, `${APP}-${app.port}s.${BASE}`, {
        cut: (hello) => cut(Buffer.concat([header, hello])),
      });
      expect((await plane.connections(1))[0]?.source).toBe("192.0.2.1");
      await expectWholeExchange(client);
      await expect.poll(() => seen.map(({ source }) => source)).toEqual(["192.0.2.1"]);
    });

    it("P1: refuses a balancer's connection without one, or with a broken one", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await behindBalancer(["127.0.0.1"], {
        onConnection: (report: ConnectionReport) => seen.push(report),
      });
      for (const bytes of [
        helloFor(`${APP}-8080s.${BASE}`),
        Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.2 x 443\r\n"),
        Buffer.from(`PROXY UNKNOWN ${"x".repeat(200)}`),
      ]) {
        expect(await answerTo(plane, bytes)).toEqual(Buffer.alloc(0));
      }
      await expect
        .poll(() => seen.map(({ outcome }) => outcome))
        .toEqual(["bad_proxy_header", "bad_proxy_header", "bad_proxy_header"]);
    });

    it("P1: has one deadline for a balancer's header and the ClientHello behind it", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await behindBalancer(["127.0.0.1"], {
        limits: { helloMs: 200 },
        onConnection: (report: ConnectionReport) => seen.push(report),
      });
      const began = performance.now();
      for (const bytes of [Buffer.from("PROXY TCP4 192.0.2.1"), told]) {
        expect(await answerTo(plane, bytes)).toEqual(Buffer.alloc(0));
      }
      expect(performance.now() - began).toBeGreaterThan(380);
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toEqual(["slow_hello", "slow_hello"]);
    });

    it("P4: limits the sources a balancer tells of, not the balancer", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await behindBalancer(["127.0.0.1"], {
        limits: { connectionsPerSource: 1 },
        onConnection: (report: ConnectionReport) => seen.push(report),
      });
      const open: Socket[] = [];
      for (const source of ["192.0.2.1", "192.0.2.2"]) {
        const socket = await connectTcp(plane);
        socket.write(`PROXY TCP4 ${source} 198.51.100.2 1 443\r\n`);
        open.push(socket);
      }
      await expect
        .poll(async () => (await plane.connections(9)).map(({ source }) => source).toSorted())
        .toEqual(["192.0.2.1", "192.0.2.2"]); // which was accepted first, threads decide
      const over = await connectTcp(plane);
      over.write("PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\n");
      expect(await closeOf(over)).toBe("reset");
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toEqual(["too_many_of_source"]);
      expect(seen[0]?.source).toBe("192.0.2.1");
      for (const socket of open) socket.destroy();
    });

    it("P1: takes no header from anybody else", async () => {
      await using plane = await behindBalancer(["192.0.2.0/24"]);
      const answer = await answerTo(plane, Buffer.concat([told, helloFor(`${APP}-8080s.${BASE}`)]));
      expect(String(answer)).toMatch(/^HTTP\/1\.1 400 /); // it begins as HTTP does
    });

    it.each([
      ["in clear", "s"],
      ["inside TLS", ""],
    ])("tells an app that asks for it who its client is, %s", async (_, suffix) => {
      const first: Buffer[] = [];
      await using app = await startApp((socket) => {
        socket.once("data", (bytes: Buffer) => {
          first.push(bytes);
          socket.end();
        });
      });
      // As many as a guest may name: its app's 16, and its agent's two.
      const others = Array.from({ length: 17 }, (_, i) => i + 1);
      const asking = { ...backend(), proxyProtocolPorts: [...others, app.port] };
      await using plane = await start({ routes: routesTo(asking) });
      const name = `${APP}-${app.port}${suffix}.${BASE}`;
      const client = suffix === "s" ? await connectTcp(plane) : await connectThrough(plane, name);
      const raw = client.localPort ?? 0;
      client.write(suffix === "s" ? helloFor(name) : "hello");
      await readAll(client);
      client.destroy();
      const result = parseProxyHeader(first[0] ?? Buffer.alloc(0));
      expect(result).toMatchObject({
        kind: "whole",
        addresses: {
          source: { address: "127.0.0.1", port: suffix === "s" ? raw : expect.any(Number) },
          destination: { address: "127.0.0.1", port: portOf(plane) },
        },
      });
      expect(first[0]?.includes(name)).toBe(true);
    });

    it("tells an app of whom its balancer told, and other ports of nobody", async () => {
      const first: Buffer[] = [];
      await using app = await startApp((socket) => {
        socket.once("data", (bytes: Buffer) => {
          first.push(bytes);
          socket.end();
        });
      });
      const plane = await behindBalancer(["127.0.0.1"], {
        routes: routesTo({ ...backend(), proxyProtocolPorts: [app.port] }),
      });
      const name = `${APP}-${app.port}s.${BASE}`;
      expect(await answerTo(plane, Buffer.concat([told, helloFor(name)]))).toEqual(Buffer.alloc(0));
      expect(parseProxyHeader(first[0] ?? Buffer.alloc(0))).toMatchObject({
        addresses: {
          source: { address: "192.0.2.1", port: 56250 },
          destination: { address: "198.51.100.2", port: 443 },
        },
      });
      plane.setRoutes(routesTo({ ...backend(), proxyProtocolPorts: [1] }));
      const next = async () => {
        await answerTo(plane, Buffer.concat([told, helloFor(name)]));
        return parseProxyHeader(first.at(-1) ?? Buffer.alloc(0)).kind;
      };
      await expect.poll(next).toBe("bad");
      await plane.close();
    });
  });
}
