// Malicious clients, in a process of their own. Its argument is a Target, as JSON; it says so when it begins, and goes on
// until it is killed.
import { randomInt, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { sleep } from "@dstack/core";
import { resetConnection } from "../../src/js/reset.js";
import { helloMessage, records } from "../hello.js";
import { proxyHeaders } from "../proxy-headers.js";
import { APP, BASE, INSTANCES, nothing, pick } from "./parts.js";

/** Whom to attack. */
export interface Target {
  /** For anybody, and for balancers. */
  readonly ports: readonly number[];
  readonly appPort: number;
  /** How many do so at once. */
  readonly clients: number;
  /** Shown by some of them in a TLS handshake; PEM. */
  readonly identity?: { readonly key: string; readonly certChain: string };
}

const REQUESTS: readonly string[] = [
  "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
  "POST /prpc/Tproxy.GetChallenge?json HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
  "POST /prpc/Tproxy.RegisterCvm?json HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{",
  "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
];

function nameFor({ appPort }: Target): string {
  const id = pick(APP, APP, ...INSTANCES, "0".repeat(40));
  return pick(
    `${id}-${appPort}.${BASE}`,
    `${id}-${appPort}.${BASE}`,
    `${id}-${appPort}s.${BASE}`,
    `${id}-${appPort}g.${BASE}`,
    `${id}-${appPort + 1}s.${BASE}`,
    `${id}-22.${BASE}`,
    "shop.example.com",
  );
}

async function attackOnce(target: Target): Promise<void> {
  const { ports } = target;
  const behind = randomInt(4) === 0;
  const raw = connect({
    port: ports[behind ? 1 : 0] ?? 0,
    host: "127.0.0.1",
    allowHalfOpen: true,
  });
  raw.on("error", nothing);
  try {
    await Promise.race([once(raw, "connect"), once(raw, "close")]);
    if (behind) raw.write(pick(...proxyHeaders)[1]);
    await pick(garbage, passThrough, passThrough, terminated, terminated, terminated)(raw, target);
    pick<() => void>(
      () => resetConnection(raw),
      () => raw.end(),
      () => raw.destroy(),
    )();
    await sleep(randomInt(20));
  } finally {
    raw.destroy();
  }
}

async function garbage(raw: Socket): Promise<void> {
  raw.write(
    pick(
      randomBytes(randomInt(1, 5_000)),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      Buffer.from("160301", "hex"),
    ),
  );
  await sleep(randomInt(400));
}

async function passThrough(raw: Socket, target: Target): Promise<void> {
  const hello = records(
    helloMessage({ serverName: nameFor(target), padding: randomInt(2) * randomInt(50_000) }),
    pick(1, 100, 16_384),
  );
  if (randomInt(2) === 0) hello[randomInt(hello.length)] = randomInt(256);
  const cut = randomInt(hello.length);
  raw.write(hello.subarray(0, cut));
  if (randomInt(2) === 0) await sleep(randomInt(20));
  raw.write(hello.subarray(cut));
  await misbehave(raw);
}

/** A handshake with OpenSSL, and bytes put between its records at some moment. */
async function terminated(raw: Socket, target: Target): Promise<void> {
  const client = connectTls({
    socket: raw,
    servername: nameFor(target),
    ...(target.identity === undefined
      ? {}
      : pick({}, { key: target.identity.key, cert: target.identity.certChain })),
    rejectUnauthorized: false,
    minVersion: "TLSv1.2",
    maxVersion: pick("TLSv1.2", "TLSv1.3"),
    ALPNProtocols: pick([], ["h2"], ["http/1.1"], ["h2", "http/1.1"]),
  });
  client.on("error", nothing);
  if (randomInt(4) === 0) raw.write(randomBytes(randomInt(1, 100)));
  await Promise.race([once(client, "secureConnect"), once(client, "close"), sleep(500)]).catch(nothing);
  // Up to here we are called by OpenSSL in the middle of a read. Node.js 20 frees the TLS state under it when both sockets are
  // destroyed there, the one under TLS first, and crashes.
  await nextTurn();
  if (randomInt(3) === 0) client.renegotiate({}, nothing);
  if (randomInt(3) === 0)
    raw.write(pick(randomBytes(40), Buffer.from("15030300020100", "hex"), Buffer.from("1703034000", "hex")));
  await misbehave(client);
  client.destroy();
}

async function misbehave(socket: Socket): Promise<void> {
  for (let steps = randomInt(6); steps > 0 && !socket.destroyed; steps--) {
    pick<() => unknown>(
      () => socket.write(randomBytes(randomInt(1, 400_000))),
      () => socket.write("x"),
      () => socket.write(pick(...REQUESTS).repeat(randomInt(1, 30))),
      () => socket.pause(),
      () => socket.resume(),
      () => socket.end(),
    )();
    if (socket.writableEnded) break;
    await sleep(randomInt(40));
  }
  await sleep(randomInt(60));
}

const target = JSON.parse(process.argv[2] ?? "") as Target;
for (let n = 0; n < target.clients; n++) {
  void (async () => {
    for (;;) await attackOnce(target).catch(nothing);
  })();
}
process.stdout.write("at it\n");
