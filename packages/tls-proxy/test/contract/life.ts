import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { ConnectionReport } from "../../src/index.js";
import {
  APP,
  backend,
  BASE,
  closeOf,
  connectTcp,
  connectThrough,
  INSTANCE,
  listenHere,
  readAll,
  routesTo,
  startApp,
} from "../apps.js";
import { helloMessage, records } from "../hello.js";
import { freePort } from "../../../core/test/support/ports.js";
import { endsAndIsGone } from "./blocked.js";
import { alertBytes, echo, answerTo, helloFor } from "./common.js";
import type { Start } from "./common.js";

/** Reads in small steps with pauses, so that everything on the way fills up. */
async function readSlowly(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    if (chunks.length % 40 === 0) await wait(5);
  }
  return Buffer.concat(chunks);
}

/** Sockets of this process, also those that nothing in it knows of any more. */
function openSockets(): number {
  const targets = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // the one that the directory was read through
    }
  });
  return targets.filter((target) => target.startsWith("socket:")).length;
}

/** Bytes that the kernel has still to send to this port, also of sockets that are closed. */
async function waitingFor(port: number): Promise<number> {
  const to = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = (await readFile("/proc/net/tcp", "utf8")).split("\n").map((line) => line.trim().split(/\s+/));
  return lines
    .filter(([, , remote = ""]) => remote.endsWith(to))
    .reduce((sum, [, , , , queues = ""]) => sum + parseInt(queues, 16), 0);
}

/** Counters, reports, draining, and the end. */
export function lifeContract(start: Start): void {
  describe("its own life", () => {
    it("counts bytes both ways and tells how a connection ended", async () => {
      const seen: ConnectionReport[] = [];
      await using app = await startApp((socket) => socket.once("data", () => socket.end("12345")));
      await using plane = await start({ onConnection: (report) => seen.push(report) });
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      client.end("123");
      expect(String(await readAll(client))).toBe("12345");
      await expect.poll(() => seen.length).toBe(1);
      expect(seen[0]).toMatchObject({
        outcome: "finished",
        mode: "terminate",
        bytesToApp: 3,
        bytesToClient: 5,
      });
      expect(seen[0]?.handshakeMs).toBeGreaterThan(0);
      expect(plane.stats()).toMatchObject({ open: 0, openByApp: new Map(), openByInstance: new Map() });
    });

    it.each([
      ["in clear", "s"],
      ["inside TLS", ""],
    ])("brings 8 MB back as they went, past slow readers, %s", async (_, suffix) => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}${suffix}.${BASE}`;
      await Promise.all(
        [1, 2].map(async () => {
          const hello = suffix === "s" ? records(helloMessage({ serverName: name })) : Buffer.alloc(0);
          const client = suffix === "s" ? await connectTcp(plane) : await connectThrough(plane, name);
          const sent = Buffer.concat([hello, randomBytes(8 << 20)]);
          const received = readSlowly(client);
          client.end(sent);
          const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
          expect(digest(await received)).toBe(digest(sent));
        }),
      );
    });

    it("keeps reports and counts right when many connections come and go at once", async () => {
      const seen: ConnectionReport[] = [];
      await using app = await startApp(echo);
      await using plane = await start({ onConnection: (report) => seen.push(report) });
      const hello = records(helloMessage({ serverName: `${APP}-${app.port}s.${BASE}` }));
      for (let round = 0; round < 10; round++) {
        await Promise.all(
          Array.from({ length: 30 }, async (_, index) => {
            const client = await connectTcp(plane);
            client.write(hello);
            await once(client, "data");
            if (index % 3 === 0) client.resetAndDestroy();
            else if (index % 3 === 1) client.end();
            else client.destroy();
          }),
        );
      }
      await expect.poll(() => seen.length).toBe(300);
      await expect
        .poll(() => plane.stats())
        .toMatchObject({ open: 0, openByApp: new Map(), openByInstance: new Map() });
      expect(seen.every(({ bytesToApp }) => bytesToApp === hello.length)).toBe(true);
    });

    it("carries on when clients are killed in the middle of transfers", async () => {
      await using app = await startApp((socket) => {
        const flood = (): void => void (socket.writable && socket.write(Buffer.alloc(65_536), flood));
        flood();
      });
      await using plane = await start();
      for (let round = 0; round < 20; round++) {
        const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
        await once(client, "data");
        client.destroy();
      }
      await expect.poll(() => plane.stats().open).toBe(0);
    });

    it("lists open connections, the newest first, with what they are at", async () => {
      await using app = await startApp(echo);
      let answer: (found: undefined) => void = () => {};
      await using plane = await start({ lookup: () => new Promise((resolve) => (answer = resolve)) });
      const began = Date.now();
      const silent = await connectTcp(plane);
      await expect.poll(() => plane.stats().open).toBe(1);
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      client.write("1234");
      await once(client, "data");
      const looking = await connectTcp(plane);
      looking.write(helloFor("shop.example.com"));
      await expect.poll(async () => (await plane.connections(1))[0]?.state).toBe("lookup");
      const open = await plane.connections(10);
      expect(open).toMatchObject([
        { state: "lookup", serverName: "shop.example.com", mode: undefined, instanceId: undefined },
        {
          state: "relaying",
          serverName: `${APP}-${app.port}.${BASE}`,
          mode: "terminate",
          appId: APP,
          instanceId: INSTANCE,
          bytesToApp: 4,
          bytesToClient: 4,
        },
        { state: "hello", source: "127.0.0.1", serverName: undefined, appId: undefined, bytesToApp: 0 },
      ]);
      for (const [index, { id, since }] of open.entries()) {
        expect(since).toBeGreaterThan(began - 100);
        expect(since).toBeLessThan(Date.now() + 100);
        expect(id).toBeGreaterThan(open[index + 1]?.id ?? 0);
      }
      expect(await plane.connections(2)).toHaveLength(2);
      answer(undefined);
      for (const socket of [silent, client, looking]) socket.destroy();
      await expect.poll(() => plane.connections(10)).toEqual([]);
    });

    it("refuses connections while it does not accept, keeps those there are, and its port", async () => {
      await using app = await startApp(echo);
      await using plane = await start({ listeners: [{ host: "127.0.0.1", port: await freePort() }] });
      const name = `${APP}-${app.port}.${BASE}`;
      const open = await connectThrough(plane, name);
      for (let times = 0; times < 2; times++) {
        await plane.setAccepting(false);
        await expect(connectTcp(plane)).rejects.toThrow(/ECONNREFUSED/);
      }
      open.write("still here");
      expect(String((await once(open, "data"))[0])).toBe("still here");
      await plane.setAccepting(true);
      await plane.setAccepting(true);
      (await connectThrough(plane, name)).destroy();
      open.destroy();
    });

    it("drains an instance: waits for its connections, then ends those that are left and no other", async () => {
      const seen: ConnectionReport[] = [];
      const other = "c".repeat(40);
      await using app = await startApp(echo);
      const routes = routesTo(backend(), backend("127.0.0.1", other));
      await using plane = await start({ routes, onConnection: (report) => seen.push(report) });
      const nameOf = (id: string): string => `${id}-${app.port}.${BASE}`;
      const ends = await connectThrough(plane, nameOf(INSTANCE));
      await expect.poll(() => plane.stats().openByInstance.get(INSTANCE)).toBe(1);
      const drained = plane.drain({ instanceId: INSTANCE }, 600_000);
      ends.end();
      await drained; // long before the limit
      const [stays, others] = [
        await connectThrough(plane, nameOf(INSTANCE)),
        await connectThrough(plane, nameOf(other)),
      ];
      await expect.poll(() => plane.stats().openByInstance.get(INSTANCE)).toBe(1);
      const closed = closeOf(stays);
      await plane.drain({ instanceId: INSTANCE }, 100);
      await closed;
      await expect.poll(() => seen.map(({ outcome }) => outcome).toSorted()).toEqual(["drained", "finished"]);
      others.write("not touched");
      expect(String((await once(others, "data"))[0])).toBe("not touched");
      others.destroy();
    });

    it("P5: an instance that is drained is sent nothing more of what waits for it", async () => {
      await using app = await startApp((socket) => void socket.pause());
      await using plane = await start();
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      client.on("error", () => {});
      client.write(new Uint8Array(2 ** 24)); // more than the kernel keeps for both
      await expect.poll(async () => (await plane.connections(1))[0]?.bytesToApp).toBeGreaterThan(0);
      await expect.poll(() => waitingFor(app.port)).toBeGreaterThan(0);
      await plane.drain({ instanceId: INSTANCE }, 0);
      await expect.poll(() => waitingFor(app.port)).toBe(0);
      client.destroy();
    });

    it("drains all: also at once, when it is told to hurry", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const [client, silent] = [
        await connectThrough(plane, `${APP}-${app.port}.${BASE}`),
        await connectTcp(plane),
      ];
      await expect.poll(() => plane.stats().open).toBe(2);
      await plane.setAccepting(false);
      const closed = Promise.all([closeOf(client), closeOf(silent)]);
      const hurry = new AbortController();
      const drained = plane.drain("all", 60_000, hurry.signal);
      expect(plane.stats().open).toBe(2);
      hurry.abort();
      await Promise.all([drained, closed]);
      await expect.poll(() => plane.stats().open).toBe(0);
    });

    it("ends listeners and connections when it is closed", async () => {
      await using app = await startApp(echo);
      const plane = await start();
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      const waiting = await connectTcp(plane);
      const ended = Promise.all([closeOf(client), closeOf(waiting)]);
      await plane.close();
      await ended;
      await expect(connectTcp(plane)).rejects.toThrow(/ECONNREFUSED/);
    });

    it("leaves no descriptor behind when it is closed, which would keep the process from ending", async () => {
      const before = openSockets();
      {
        await using app = await startApp((socket) => socket.pause());
        const plane = await start();
        await endsAndIsGone(plane, app);
        const clients = await Promise.all([
          connectThrough(plane, `${APP}-${app.port}.${BASE}`),
          connectTcp(plane),
        ]);
        const ended = Promise.all(clients.map(closeOf));
        await plane.close();
        await ended;
      }
      await expect.poll(openSockets).toBeLessThanOrEqual(before);
    });

    it("listens on several ports, and leaves none open when one is taken", async () => {
      await using plane = await start({
        listeners: [...listenHere, { host: "127.0.0.1", port: 0, passthroughOnly: true }],
      });
      expect(plane.listeners).toHaveLength(2);
      const taken = plane.listeners[1]?.port ?? 0;
      await expect(start({ listeners: [{ host: "127.0.0.1", port: taken }] })).rejects.toThrow(/EADDRINUSE/);
      expect(await answerTo(plane, helloFor("x.example.com"), 1)).toEqual(alertBytes("unrecognized_name"));
    });
  });
}
