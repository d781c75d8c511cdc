import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { ConnectionReport, DataPlane } from "../../src/index.js";
import { APP, BASE, closeOf, connectTcp, connectThrough, readAll, startApp } from "../apps.js";
import type { App } from "../apps.js";
import { helloMessage, records } from "../hello.js";
import type { Start } from "./common.js";

/** Far more than all buffers on the way hold. */
const MUCH_BYTES = 200 << 20;
const BLOCK_BYTES = 256 << 10;
/** Times that nothing has moved, after which nobody can send. */
const STILL_TIMES = 3;

const digestOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

/** Whether the engine still takes what waits in the socket. Each time it is asked, all its threads have had their turn. */
async function drains(socket: Socket, plane: DataPlane): Promise<boolean> {
  const drained = once(socket, "drain").then(() => true);
  let before = -1;
  for (let still = 0; still < STILL_TIMES;) {
    if ((await Promise.race([drained, wait(100)])) === true) return true;
    const moved = (await plane.connections(10)).reduce(
      (sum, { bytesToApp, bytesToClient }) => sum + bytesToApp + bytesToClient,
      0,
    );
    still = moved === before ? still + 1 : 0;
    before = moved;
  }
  return false;
}

/** Sends block by block until nobody takes any more. @returns the digest of all it was given */
async function sendUntilBlocked(socket: Socket, plane: DataPlane): Promise<string> {
  const sent = createHash("sha256");
  for (let total = 0; total < MUCH_BYTES; total += BLOCK_BYTES) {
    const block = randomBytes(BLOCK_BYTES);
    sent.update(block);
    if (socket.write(block)) continue;
    if (!(await drains(socket, plane))) return sent.digest("hex");
  }
  throw new Error("everything was taken: nobody is blocked");
}

/** Reads on to the end, also where reading was stopped. @returns the digest of what came */
async function readOn(socket: Socket): Promise<string> {
  const all = readAll(socket);
  socket.resume();
  return digestOf(await all);
}

type Kind = "passthrough" | "termination";
const KINDS: Kind[] = ["passthrough", "termination"];

/** A connection through the proxy and the app's end of it, which does not read beyond the ClientHello. */
const join = async (plane: DataPlane, app: App, kind: Kind) => {
  let client: Socket;
  if (kind === "termination") client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
  else {
    const hello = records(helloMessage({ serverName: `${APP}-${app.port}s.${BASE}` }));
    client = await connectTcp(plane);
    client.write(hello);
  }
  client.on("error", () => {});
  await expect.poll(() => app.sockets.length).toBe(1);
  const [inside] = app.sockets as [Socket];
  if (kind === "passthrough") {
    inside.resume();
    await once(inside, "data");
  }
  inside.pause();
  return { client, inside };
};

/** One side does not read for a while: the engine stops listening to the other one. */
export function blockedContract(start: Start): void {
  describe("a side that does not read", () => {
    describe.each(KINDS)("%s", (kind) => {
      it("P4: blocks only what is for it; once it reads, every byte is there, and each end behind its bytes", async () => {
        await using app = await startApp((socket) => socket.pause());
        await using plane = await start();
        const { client, inside } = await join(plane, app, kind);
        const up = await sendUntilBlocked(client, plane);
        client.end(); // behind what cannot be sent yet
        const down = randomBytes(8 << 20);
        const received = readOn(client);
        inside.end(down); // the other direction goes on, up to its end
        expect(await received).toBe(digestOf(down));
        expect(await readOn(inside)).toBe(up);
        await expect.poll(() => plane.stats().open).toBe(0);
      });

      it("P4: the same where the client does not read, and goes on when it stops again and again", async () => {
        await using app = await startApp((socket) => socket.pause());
        await using plane = await start();
        const { client, inside } = await join(plane, app, kind);
        client.pause();
        const down = await sendUntilBlocked(inside, plane);
        inside.end();
        const up = randomBytes(1 << 20);
        const request = readOn(inside);
        client.end(up);
        expect(await request).toBe(digestOf(up));
        const received = createHash("sha256");
        let chunks = 0;
        for await (const chunk of client.iterator({ destroyOnReturn: false })) {
          received.update(chunk as Buffer);
          if (++chunks % 50 === 0) await wait(2);
        }
        expect(received.digest("hex")).toBe(down);
        await expect.poll(() => plane.stats().open).toBe(0);
      });

      it("P4: one who does not read for the idle time is let go, and so is who waits for it", async () => {
        const seen: ConnectionReport[] = [];
        await using app = await startApp((socket) => socket.pause());
        await using plane = await start({
          limits: { idleMs: 2_000 },
          onConnection: (report) => seen.push(report),
        });
        const { client, inside } = await join(plane, app, kind);
        await sendUntilBlocked(client, plane);
        await expect.poll(() => seen.map((report) => report.outcome)).toEqual(["idle"]);
        await Promise.all([closeOf(client), closeOf(inside)]);
      });
    });

    it("P4: a client that ends and is gone at once takes its app's connection with it", async () => {
      await using app = await startApp((socket) => socket.pause());
      await using plane = await start();
      await endsAndIsGone(plane, app);
    });
  });
}

/** A client that did not read ends its side, and resets the connection in the same moment. Resolves when the app is rid of it. */
export async function endsAndIsGone(plane: DataPlane, app: App): Promise<void> {
  const { client, inside } = await join(plane, app, "passthrough");
  client.pause();
  await sendUntilBlocked(inside, plane);
  client.end();
  await once(client, "finish");
  client.resetAndDestroy();
  // It does not read, and has more to send: what ends its connection is a reset, and no end.
  await expect.poll(() => inside.closed).toBe(true);
}

/** Only where the kernel itself tells of resets: Node hears of none on a socket it does not read, until the idle time. */
export function resetWhileBlockedContract(start: Start): void {
  it.each(KINDS)("P4: %s: a reset by the one who sends reaches the one who does not read", async (kind) => {
    const seen: ConnectionReport[] = [];
    await using app = await startApp((socket) => socket.pause());
    await using plane = await start({ onConnection: (report) => seen.push(report) });
    const { client, inside } = await join(plane, app, kind);
    inside.pause();
    client.pause();
    await sendUntilBlocked(inside, plane);
    inside.resetAndDestroy();
    // Told while the client still does not read.
    await expect.poll(() => seen.map((report) => report.outcome)).toEqual(["reset"]);
    await closeOf(client); // "ended" or "reset": Linux says so or so where bytes came before
  });
}
