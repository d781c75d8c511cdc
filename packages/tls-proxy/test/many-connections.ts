import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { sleep } from "@dstack/core";
import { createNativeDataPlane } from "../src/index.js";
import type { DataPlane } from "../src/index.js";
import { helloMessage, records } from "./hello.js";
import { childrenOf } from "./processes.js";

const BASE = "app.example.org";
const APP = "a".repeat(40);
const AT_ONCE = 200;
/** Pieces a slow ClientHello comes in, and the time between them. */
const PIECES = 8;
const BETWEEN_MS = 300;

export interface ManyConnections {
  /** Connections through to the app on which nothing happens any more. */
  readonly idle: number;
  /** Connections whose ClientHello takes seconds. */
  readonly writers: number;
}

export interface ManyConnectionsResult {
  /** What the engine's resident memory has grown by, per connection, in bytes. */
  readonly idleBytes: number;
  readonly writerBytes: number;
  /** Slow writers that were carried to their end. */
  readonly carried: number;
}

/** Opens very many connections through the native engine and looks at its memory. */
export async function run({ idle, writers }: ManyConnections): Promise<ManyConnectionsResult> {
  const file = fileURLToPath(new URL("./hello-app.ts", import.meta.url));
  const app = spawn(process.execPath, ["--import", "tsx", file], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [line] = (await once(app.stdout, "data")) as [Buffer];
    const appPort = Number(String(line));
    return { ...(await openIdle(appPort, idle)), ...(await openWriters(appPort, writers)) };
  } finally {
    app.kill();
  }
}

async function openIdle(appPort: number, count: number): Promise<{ idleBytes: number }> {
  await using plane = await startPlane();
  const engine = await engineOf();
  const before = await residentBytes(engine);
  const open = await many(count, async () => answered(await opened(plane), helloFor(appPort)));
  const idleBytes = Math.round(((await residentBytes(engine)) - before) / count);
  for (const socket of open) socket.destroy();
  return { idleBytes };
}

async function openWriters(
  appPort: number,
  count: number,
): Promise<{ writerBytes: number; carried: number }> {
  await using plane = await startPlane();
  const engine = await engineOf();
  const before = await residentBytes(engine);
  const open = await many(count, () => opened(plane));
  const hello = helloFor(appPort);
  const piece = Math.floor(hello.length / PIECES);
  for (let at = 0; at < PIECES - 1; at++) {
    for (const socket of open) socket.write(hello.subarray(at * piece, (at + 1) * piece));
    await sleep(BETWEEN_MS);
  }
  const writerBytes = Math.round(((await residentBytes(engine)) - before) / count);
  const rest = hello.subarray((PIECES - 1) * piece);
  const carried = await Promise.all(open.map((socket) => answered(socket, rest)));
  for (const socket of open) socket.destroy();
  return { writerBytes, carried: carried.length };
}

function helloFor(appPort: number): Buffer {
  return records(helloMessage({ serverName: `${APP}-${appPort}s.${BASE}`, padding: 1_700 }));
}

function startPlane(): Promise<DataPlane> {
  return createNativeDataPlane({
    listeners: [{ host: "127.0.0.1", port: 0 }],
    routes: {
      baseDomains: [BASE],
      backends: new Map([[APP, [{ appId: APP, instanceId: APP, host: "127.0.0.1" }]]]),
      allowedPorts: [{ from: 1, to: 65535 }],
    },
    limits: {
      ...{ connections: 50_000, connectionsPerApp: 50_000, connectionsPerSource: 50_000 },
      ...{ firstByteMs: 120_000, helloMs: 120_000, connectMs: 60_000 },
    },
  });
}

async function engineOf(): Promise<number> {
  return (await childrenOf(process.pid, "tls_proxy.node")).at(-1) ?? 0;
}

async function opened(plane: DataPlane): Promise<Socket> {
  const port = plane.listeners[0]?.port ?? 0;
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  socket.on("error", () => {});
  return socket;
}

/** Sends the bytes and waits for what the app says to them. */
async function answered(socket: Socket, bytes: Buffer): Promise<Socket> {
  socket.write(bytes);
  const [answer] = (await once(socket, "data")) as [Buffer];
  if (String(answer) !== "hello") throw new Error(`the app has said ${String(answer)}`);
  return socket;
}

async function many(count: number, open: () => Promise<Socket>): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const batch = Math.min(AT_ONCE, count - sockets.length);
    sockets.push(...(await Promise.all(Array.from({ length: batch }, open))));
  }
  return sockets;
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}
