import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import type { ConnectionReport } from "../../src/index.js";
import {
  APP,
  BASE,
  closeOf,
  connectTcp,
  connectThrough,
  expectTurnedAway,
  readAll,
  realHello,
  startApp,
  startDeafApp,
} from "../apps.js";
import { helloMessage, records } from "../hello.js";
import { alertBytes, echo, answerTo, helloFor } from "./common.js";
import type { Start } from "./common.js";

async function answerOn(socket: Socket, bytes: Uint8Array): Promise<string> {
  socket.write(bytes);
  return String(await readAll(socket));
}

/** Deadlines and numbers. */
export function limitsContract(start: Start): void {
  describe("limits", () => {
    it.each<[string, () => Buffer]>([
      ["longer than 64 KiB", () => records(helloMessage({ serverName: BASE, padding: 65_500 }))],
      [
        "that never ends",
        () => records(Buffer.concat([Buffer.from("01ffffff", "hex"), randomBytes(70_000)])),
      ],
      [
        "that never ends, in records of a byte",
        () => records(Buffer.concat([Buffer.from("0100f000", "hex"), randomBytes(12_000)]), 1),
      ],
    ])("P1: answers decode_error to a ClientHello %s", async (_, bytes) => {
      await using plane = await start();
      const client = await connectTcp(plane);
      client.on("error", () => {}); // what it sends after the answer may be reset
      client.write(bytes());
      expect(await readAll(client)).toEqual(alertBytes("decode_error"));
      client.destroy();
    });

    it("P4: gives up on an app that is there and does not answer", async () => {
      await using app = await startDeafApp();
      await using plane = await start({ limits: { connectMs: 300 } });
      const began = performance.now();
      expect(await answerTo(plane, helloFor(`${APP}-${app.port}s.${BASE}`))).toEqual(
        alertBytes("internal_error"),
      );
      expect(performance.now() - began).toBeGreaterThan(290);
    });

    it("P1: one deadline for the whole ClientHello, however it trickles", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await start({
        limits: { helloMs: 500 },
        onConnection: (report) => seen.push(report),
      });
      const slow = await connectTcp(plane);
      const hello = records(helloMessage({ serverName: `${APP}-8080s.${BASE}`, padding: 40_000 }));
      let at = 0;
      const drip = setInterval(() => slow.write(hello.subarray(at, ++at)), 20);
      await closeOf(slow);
      clearInterval(drip);
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toEqual(["slow_hello"]);
      expect(seen[0]?.durationMs).toBeGreaterThan(490);
    });

    it("P1: a deadline of its own for the first byte", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await start({
        limits: { firstByteMs: 200 },
        onConnection: (report) => seen.push(report),
      });
      await closeOf(await connectTcp(plane));
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toEqual(["slow_hello"]);
      expect(seen[0]?.durationMs).toBeGreaterThan(190);
    });

    it("P4: ends a TLS handshake that does not go on", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await start({
        limits: { handshakeMs: 200 },
        onConnection: (report) => seen.push(report),
      });
      const socket = await connectTcp(plane);
      socket.write(await realHello(`${APP}-8080.${BASE}`));
      await closeOf(socket);
      await expect.poll(() => seen[0]?.outcome).toBe("handshake_failed");
      expect(seen[0]?.durationMs).toBeGreaterThan(190);
    });

    it.each([
      ["are idle", { idleMs: 1_500 }, false],
      ["are half-closed, and idle for less than others may be", { halfClosedMs: 100 }, true],
    ])("P4: ends connections that %s", async (_, limits, isHalfClosed) => {
      const seen: ConnectionReport[] = [];
      await using app = await startApp(() => {});
      await using plane = await start({ limits, onConnection: (report) => seen.push(report) });
      const hello = helloFor(`${APP}-${app.port}s.${BASE}`);
      const client = await connectTcp(plane);
      const began = performance.now();
      client.write(hello);
      if (isHalfClosed) client.end();
      await closeOf(client);
      const [leastMs = 0] = Object.values(limits);
      expect(performance.now() - began).toBeGreaterThan(leastMs - 10);
      await expect.poll(() => seen.map((report) => report.outcome)).toEqual(["idle"]);
    });

    it("P4: ends a busy connection after its total time", async () => {
      await using app = await startApp((socket) => {
        const timer = setInterval(() => socket.write("x"), 20);
        socket.once("close", () => clearInterval(timer));
      });
      await using plane = await start({ limits: { totalMs: 1_200 } });
      const socket = await connectTcp(plane);
      socket.write(helloFor(`${APP}-${app.port}s.${BASE}`));
      await closeOf(socket);
    });

    it("P4: connections per app, and room again when one ends", async () => {
      await using app = await startApp(echo);
      await using plane = await start({ limits: { connectionsPerApp: 2 } });
      const name = `${APP}-${app.port}.${BASE}`;
      const open = [await connectThrough(plane, name), await connectThrough(plane, name)];
      expect(await answerTo(plane, helloFor(name))).toEqual(alertBytes("internal_error"));
      await expect.poll(() => plane.stats().openByApp.get(APP)).toBe(2);
      open[0]?.destroy();
      await expect.poll(() => plane.stats().openByApp.get(APP)).toBe(1);
      (await connectThrough(plane, name)).destroy();
      open[1]?.destroy();
    });

    it.each([
      ["per source", { connectionsPerSource: 2 }, "too_many_of_source"],
      ["all together", { connections: 2 }, "too_many"],
    ] as const)("P4: connections %s", async (_, limits, outcome) => {
      const seen: ConnectionReport[] = [];
      await using plane = await start({ limits, onConnection: (report) => seen.push(report) });
      const open = [await connectTcp(plane), await connectTcp(plane)];
      await expect.poll(() => plane.stats().open).toBe(2);
      await expectTurnedAway(plane);
      await expect.poll(() => seen.map((report) => report.outcome)).toEqual([outcome]);
      open[0]?.destroy();
      await expect.poll(() => plane.stats().open).toBe(1);
      const again = await connectTcp(plane);
      expect(await answerOn(again, Buffer.from("GET"))).toMatch(/^HTTP/);
      open[1]?.destroy();
    });
  });
}
