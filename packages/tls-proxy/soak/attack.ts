import { randomInt, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { sleep } from "@dstack/core";
import { checkCertificate, createNativeDataPlane } from "../src/index.js";
import type { Backend, DataPlane, RouteTable } from "../src/index.js";
import { resetConnection } from "../src/js/reset.js";
import { makeCertificate } from "../test/certificates.js";
import { helloMessage, records } from "../test/hello.js";
import { proxyHeaders } from "../test/proxy-headers.js";

const BASE = "app.example.org";
const APP = "a".repeat(40);
const INSTANCES = ["b", "c", "d"].map((digit) => digit.repeat(40));

export interface AttackOptions {
  readonly seconds: number;
  /** What runs the engine: one that is built with checks finds more. */
  readonly command: readonly string[];
  /** Malicious clients at once. */
  readonly clients?: number;
}

export interface AttackResult {
  /** Connections that were over, by outcome. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** What the engine had to say: nothing, when it stood. */
  readonly troubles: readonly string[];
  /** Connections the engine thinks are open when everybody has gone. */
  readonly left: number;
}

const pick = <T>(...choices: readonly T[]): T => choices[randomInt(choices.length)] as T;
const nothing = (): void => {};

/**
 * Clients and apps that do what they should not, in random order and at random moments, while the control plane changes
 * routes and certificate, drains, and stops and goes on accepting.
 */
export async function run(options: AttackOptions): Promise<AttackResult> {
  const [outcomes, troubles] = [new Map<string, number>(), [] as string[]];
  const app = createServer({ allowHalfOpen: true }, misbehavingApp);
  app.listen(0, "127.0.0.1");
  await once(app, "listening");
  const { port: appPort } = app.address() as AddressInfo;
  const certificates = [makeCertificate(`*.${BASE}`), makeCertificate(`*.${BASE}`)].map((pair) =>
    checkCertificate({ ...pair, baseDomains: [BASE], now: new Date() }),
  );
  const plane = await createNativeDataPlane({
    listeners: [
      { host: "127.0.0.1", port: 0 },
      { host: "127.0.0.1", port: 0, proxyProtocolFrom: ["127.0.0.1"] },
    ],
    routes: routes(appPort),
    ...(certificates[0] === undefined ? {} : { certificate: certificates[0] }),
    threads: 4,
    command: options.command,
    limits: {
      helloMs: 300,
      handshakeMs: 500,
      connectMs: 500,
      lookupMs: 200,
      idleMs: 1_500,
      halfClosedMs: 300,
      totalMs: 4_000,
      connectionsPerSource: 5_000,
      connectionsPerApp: 150,
    },
    lookup: async () => {
      await sleep(randomInt(400));
      return pick(undefined, { id: APP, port: appPort }, { id: pick(...INSTANCES), port: appPort });
    },
    onConnection: ({ outcome }) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1),
    onTrouble: (err) => troubles.push(err.message),
  });
  const until = performance.now() + options.seconds * 1000;
  const goesOn = (): boolean => performance.now() < until && troubles.length === 0;
  const control = async (): Promise<void> => {
    while (goesOn()) {
      await sleep(randomInt(30));
      await pick<() => unknown>(
        () => plane.setRoutes(routes(appPort)),
        () => plane.setCertificate(pick(...certificates)),
        () => plane.connections(pick(1, 100, 10_000)),
        () => plane.drain({ instanceId: pick(...INSTANCES) }, pick(0, 20)),
        () => (randomInt(20) === 0 ? plane.drain("all", 0) : undefined),
        () => plane.setAccepting(randomInt(6) > 0),
      )();
    }
  };
  const client = async (): Promise<void> => {
    while (goesOn()) await attackOnce(plane, appPort).catch(nothing);
  };
  await Promise.all([control(), ...Array.from({ length: options.clients ?? 60 }, client)]);
  await plane.drain("all", 0);
  for (let tries = 0; plane.stats().open > 0 && tries < 100; tries++) await sleep(50);
  const left = plane.stats().open;
  await plane.close();
  app.close();
  return { outcomes, troubles, left };
}

function routes(appPort: number): RouteTable {
  const all: Backend[] = INSTANCES.map((instanceId, index) => ({
    appId: APP,
    instanceId,
    host: `127.0.0.${1 + index}`, // nobody listens at the second and third
    proxyProtocolPorts: pick([], [appPort], [1, appPort, 3]),
  }));
  const some = all.filter(() => randomInt(4) > 0).toSorted(() => randomInt(3) - 1);
  const backends = new Map(some.map((one): [string, Backend[]] => [one.instanceId, [one]]));
  if (some.length > 0) backends.set(APP, some);
  return {
    baseDomains: pick([BASE], [BASE, "x.example.net"]),
    backends,
    allowedPorts: [{ from: 1024, to: 65535 }],
  };
}

function misbehavingApp(socket: Socket): void {
  socket.on("error", nothing);
  setTimeout(() => socket.destroy(), 3_000).unref();
  const after = (ms: number, what: () => void): void => void setTimeout(what, randomInt(ms)).unref();
  pick(
    () => resetConnection(socket),
    () => socket.end(),
    () => socket.end(randomBytes(randomInt(1, 300_000))),
    () => void socket.pipe(socket),
    () => {
      socket.resume();
      socket.write(randomBytes(randomInt(1, 2_000_000)));
      after(50, () => resetConnection(socket));
    },
    () => {
      socket.pause(); // reads nothing
      after(1_500, () => socket.destroy());
    },
    () => {
      socket.resume();
      after(100, () => socket.end());
    },
    () => {
      socket.end("x");
      after(500, () => socket.resume());
    },
    () => {
      socket.resume();
      const drip = setInterval(() => socket.write(randomBytes(randomInt(1, 70_000))), 5);
      socket.once("close", () => clearInterval(drip));
    },
  )();
}

function nameFor(appPort: number): string {
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

async function attackOnce(plane: DataPlane, appPort: number): Promise<void> {
  const behind = randomInt(4) === 0;
  const raw = connect({
    port: plane.listeners[behind ? 1 : 0]?.port ?? 0,
    host: "127.0.0.1",
    allowHalfOpen: true,
  });
  raw.on("error", nothing);
  try {
    await Promise.race([once(raw, "connect"), once(raw, "close")]);
    if (behind) raw.write(pick(...proxyHeaders)[1]);
    const attack = pick(garbage, passThrough, passThrough, terminated, terminated, terminated);
    await attack(raw, nameFor(appPort));
    pick<() => void>(
      // Node.js 20 may crash where it resets what is under a TLS socket. Unread bytes make a reset of the others, too.
      () => (attack === terminated ? raw.destroy() : resetConnection(raw)),
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

async function passThrough(raw: Socket, serverName: string): Promise<void> {
  const hello = records(
    helloMessage({ serverName, padding: randomInt(2) * randomInt(50_000) }),
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
async function terminated(raw: Socket, servername: string): Promise<void> {
  const client = connectTls({
    socket: raw,
    servername,
    rejectUnauthorized: false,
    minVersion: "TLSv1.2",
    maxVersion: pick("TLSv1.2", "TLSv1.3"),
    ALPNProtocols: pick([], ["h2"], ["http/1.1"], ["h2", "http/1.1"]),
  });
  client.on("error", nothing);
  if (randomInt(4) === 0) raw.write(randomBytes(randomInt(1, 100)));
  await Promise.race([once(client, "secureConnect"), once(client, "close"), sleep(500)]).catch(nothing);
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
      () => socket.pause(),
      () => socket.resume(),
      () => socket.end(),
    )();
    if (socket.writableEnded) break;
    await sleep(randomInt(40));
  }
  await sleep(randomInt(60));
}
