import { spawn } from "node:child_process";
import { randomInt, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { sleep } from "@dstack/core";
import { checkCertificate, createNativeDataPlane } from "../../src/index.js";
import type { Backend, RouteTable } from "../../src/index.js";
import { resetConnection } from "../../src/js/reset.js";
import { makeCertificate } from "../certificates.js";
import type { Target } from "./clients.js";
import { APP, BASE, INSTANCES, nothing, pick } from "./parts.js";

export interface AttackOptions {
  readonly seconds: number;
  /** Goes on until connections have had each of these outcomes, too. */
  readonly until?: readonly string[];
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

/**
 * Malicious clients, in a process of their own.
 * @returns once they are at it; they go on until it is disposed of, which throws when they ended before
 */
export async function startClients(target: Target): Promise<AsyncDisposable> {
  const file = fileURLToPath(new URL("./clients.ts", import.meta.url));
  const args = ["--import", "tsx", file, JSON.stringify(target)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  return {
    [Symbol.asyncDispose]: async () => {
      const ended = child.exitCode ?? child.signalCode;
      if (ended !== null) throw new Error(`the malicious clients ended with ${ended}`);
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

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
    certificates: certificates.slice(0, 1),
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
  const control = async (until: number): Promise<void> => {
    const isReached = (): boolean => (options.until ?? []).every((outcome) => outcomes.has(outcome));
    while ((performance.now() < until || !isReached()) && troubles.length === 0) {
      await sleep(randomInt(30));
      await pick<() => unknown>(
        () => plane.setRoutes(routes(appPort)),
        () => plane.setCertificates([pick(...certificates)]),
        () => plane.connections(pick(1, 100, 10_000)),
        () => plane.drain({ instanceId: pick(...INSTANCES) }, pick(0, 20)),
        () => (randomInt(20) === 0 ? plane.drain("all", 0) : undefined),
        () => plane.setAccepting(randomInt(6) > 0),
      )();
    }
  };
  {
    await using _clients = await startClients({
      ports: plane.listeners.map(({ port }) => port),
      appPort,
      clients: options.clients ?? 60,
    });
    await control(performance.now() + options.seconds * 1000);
  }
  await plane.drain("all", 0);
  for (let tries = 0; plane.stats().open > 0 && tries < 2_000; tries++) await sleep(50);
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

/** What an app should not do with a connection, at random. */
export function misbehavingApp(socket: Socket): void {
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
