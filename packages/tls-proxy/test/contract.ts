import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { describe, expect, it } from "vitest";
import { checkCertificate } from "../src/index.js";
import type {
  CheckedCertificate,
  ConnectionReport,
  DataPlane,
  DataPlaneOptions,
  Limits,
} from "../src/index.js";
import {
  APP,
  BASE,
  INSTANCE,
  backend,
  closeOf,
  connectTcp,
  connectThrough,
  expectTurnedAway,
  listenHere,
  portOf,
  readAll,
  realHello,
  routesTo,
  sessionOf,
  startApp,
  startDeafApp,
  startTlsApp,
  wildcard,
} from "./apps.js";
import { makeCertificate } from "./certificates.js";
import { blockedContract, endsAndIsGone } from "./contract-blocked.js";
import { helloMessage, records } from "./hello.js";
import { parseProxyHeader } from "../src/proxy-header.js";
import { binary } from "./proxy-headers.js";

export type MakeDataPlane = (options: DataPlaneOptions & { limits?: Partial<Limits> }) => Promise<DataPlane>;

const ALERT = { decode_error: 50, internal_error: 80, unrecognized_name: 112 } as const;
const alertBytes = (name: keyof typeof ALERT): Buffer => Buffer.from([21, 3, 3, 0, 2, 2, ALERT[name]]);

const certificate = checked(wildcard);

function checked(pair: typeof wildcard): CheckedCertificate {
  return checkCertificate({ ...pair, baseDomains: [BASE], now: new Date() });
}

function resuming(client: TLSSocket): { session?: Buffer } {
  const session = sessionOf(client);
  return session === undefined ? {} : { session };
}

const echo = (socket: Socket): void => void socket.pipe(socket);

/** Reads the whole request, and only after its end answers with its SHA-256 and 100 KB. */
const answerAfterEnd = (socket: Socket): void =>
  void readAll(socket).then((request) => {
    socket.write(createHash("sha256").update(request).digest());
    socket.end(Buffer.alloc(100_000, 7));
  });

async function expectWholeExchange(client: TLSSocket): Promise<void> {
  const upload = randomBytes(200_000);
  client.end(upload);
  const answer = await readAll(client);
  expect(answer.subarray(0, 32)).toEqual(createHash("sha256").update(upload).digest());
  expect(answer.length).toBe(100_032);
}

/** Tries again while it fails: what an engine is told takes effect a moment later. */
async function eventually<T>(what: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await what();
    } catch (err) {
      if (tries === 100) throw err;
      await wait(10);
    }
  }
}

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

/** What every data plane has to do. `make` gets options as a control plane gives them. */
export function dataPlaneContract(make: MakeDataPlane): void {
  const start = (
    options: Partial<DataPlaneOptions> & { limits?: Partial<Limits> } = {},
  ): Promise<DataPlane> =>
    make({ listeners: listenHere, routes: routesTo(backend()), certificate, ...options });

  /** The answer to a hand-made ClientHello. */
  const answerTo = async (plane: DataPlane, bytes: Uint8Array, index = 0): Promise<Buffer> => {
    const socket = await connectTcp(plane, index);
    socket.write(bytes);
    return readAll(socket);
  };
  const helloFor = (serverName: string): Buffer => records(helloMessage({ serverName }));

  describe("passthrough", () => {
    it.each<[string, (hello: Buffer) => Buffer[]]>([
      ["one piece", (hello) => [hello]],
      ["three segments", (hello) => [hello.subarray(0, 3), hello.subarray(3, 90), hello.subarray(90)]],
      ["a byte a segment", (hello) => [...hello].map((byte) => Buffer.of(byte))],
      ["two records", (hello) => [records(hello.subarray(5), 100)]],
      ["records of one byte", (hello) => [records(hello.subarray(5), 1)]],
    ])(
      "P1: carries a ClientHello in %s to the app, and 200 KB up, a half-close and 100 KB back",
      async (_, cut) => {
        await using app = await startTlsApp(answerAfterEnd);
        await using plane = await start();
        const client = await connectThrough(plane, `${APP}-${app.port}s.${BASE}`, { cut });
        expect(client.getPeerCertificate().subject.CN).toBe("app.internal");
        await expectWholeExchange(client);
      },
    );

    it("P1: carries a ClientHello of 40 KB, as one with hybrid key shares of many groups would be", async () => {
      await using app = await startApp(
        (socket) => void readAll(socket).then((got) => socket.end(String(got.length))),
      );
      await using plane = await start();
      const hello = records(helloMessage({ serverName: `${APP}-${app.port}s.${BASE}`, padding: 40_000 }));
      const client = await connectTcp(plane);
      client.end(hello);
      expect(String(await readAll(client))).toBe(String(hello.length));
    });

    it("passes the end of an app's answer on while the client still sends", async () => {
      let received: Buffer = Buffer.alloc(0);
      await using app = await startApp((socket) => {
        socket.end("that is all");
        void readAll(socket).then((got) => (received = got));
      });
      await using plane = await start();
      const hello = helloFor(`${APP}-${app.port}s.${BASE}`);
      const client = await connectTcp(plane);
      client.write(hello);
      expect(String(await readAll(client))).toBe("that is all");
      client.end("and more");
      await expect.poll(() => String(received.subarray(hello.length))).toBe("and more");
    });

    it("leaves ALPN and resumption to the app", async () => {
      await using app = await startTlsApp(echo, ["weird/1"]);
      await using plane = await start();
      const name = `${APP}-${app.port}s.${BASE}`;
      const client = await connectThrough(plane, name, { ALPNProtocols: ["weird/1"] });
      expect(client.alpnProtocol).toBe("weird/1");
      client.write("x");
      await expect.poll(() => sessionOf(client)).toBeDefined();
      client.destroy();
      const again = await connectThrough(plane, name, { ...resuming(client), ALPNProtocols: ["weird/1"] });
      expect(again.isSessionReused()).toBe(true);
      again.destroy();
    });

    it("means every name on a listener that never terminates", async () => {
      await using app = await startTlsApp(answerAfterEnd);
      await using plane = await start({ listeners: [{ host: "127.0.0.1", port: 0, passthroughOnly: true }] });
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      expect(client.getPeerCertificate().subject.CN).toBe("app.internal");
      await expectWholeExchange(client);
    });

    it("passes a reset on as a reset, in both directions", async () => {
      await using app = await startApp(() => {});
      await using plane = await start();
      const hello = helloFor(`${APP}-${app.port}s.${BASE}`);
      const connected = async (): Promise<[Socket, Socket]> => {
        const client = await connectTcp(plane);
        client.write(hello);
        await expect.poll(() => app.sockets.length).toBe(1);
        const inside = app.sockets.pop() as Socket;
        await once(inside, "data");
        return [client, inside];
      };
      const [client1, inside1] = await connected();
      client1.resetAndDestroy();
      expect(await closeOf(inside1)).toBe("reset");
      const [client2, inside2] = await connected();
      inside2.resetAndDestroy();
      expect(await closeOf(client2)).toBe("reset");
    });

    it("P4: stops reading from an app whose client does not read", async () => {
      let sent = 0;
      await using app = await startApp((socket) => {
        const block = Buffer.alloc(1 << 20);
        const more = (): void => {
          if (sent >= 200 << 20) return;
          sent += block.length;
          socket.write(block, more);
        };
        more();
      });
      await using plane = await start();
      const client = await connectTcp(plane);
      client.pause();
      client.write(helloFor(`${APP}-${app.port}s.${BASE}`));
      let before = -1;
      await expect
        .poll(
          () => {
            const still = sent > 0 && sent === before;
            before = sent;
            return still;
          },
          { interval: 300, timeout: 10_000 },
        )
        .toBe(true);
      // What the kernel's socket buffers on the way may hold; far from 200 MB.
      expect(sent).toBeLessThan(40 << 20);
      client.destroy();
    });
  });

  describe("termination", () => {
    it.each(["TLSv1.2", "TLSv1.3"] as const)(
      "%s: plain bytes to the app, half-close both ways",
      async (version) => {
        await using app = await startApp(answerAfterEnd);
        await using plane = await start();
        const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`, {
          minVersion: version,
          maxVersion: version,
        });
        expect(client.getProtocol()).toBe(version);
        await expectWholeExchange(client);
      },
    );

    it("P1: takes a ClientHello in pieces, in two records, with its name in capitals", async () => {
      await using app = await startApp(answerAfterEnd);
      await using plane = await start();
      for (const cut of [
        (hello: Buffer) => [hello.subarray(0, 1), hello.subarray(1, 50), hello.subarray(50)],
        (hello: Buffer) => [records(hello.subarray(5), 77)],
      ]) {
        await expectWholeExchange(
          await connectThrough(plane, `${APP.toUpperCase()}-${app.port}.APP.Example.org`, { cut }),
        );
      }
    });

    it("refuses TLS 1.1", async () => {
      await using plane = await start();
      const attempt = connectThrough(plane, `${APP}-8080.${BASE}`, {
        minVersion: "TLSv1.1",
        maxVersion: "TLSv1.1",
        ciphers: "DEFAULT@SECLEVEL=0",
      });
      await expect(attempt).rejects.toThrow(/protocol version/);
    });

    it("P3: agrees on http/1.1, and where the name says g on h2, with those that speak nothing else", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const agreed = async (suffix: string, ALPNProtocols: string[]): Promise<string | false | null> => {
        const client = await connectThrough(plane, `${APP}-${app.port}${suffix}.${BASE}`, { ALPNProtocols });
        client.destroy();
        return client.alpnProtocol;
      };
      expect(await agreed("", ["h2", "http/1.1"])).toBe("http/1.1");
      expect(await agreed("", ["h2"])).toBe(false);
      expect(await agreed("g", ["h2"])).toBe("h2");
      expect(await agreed("g", ["grpc-exp", "h2"])).toBe("h2");
      expect(await agreed("g", [])).toBe(false);
      // A browser: it would send requests for other apps along, as the certificate is theirs, too.
      await expect(agreed("g", ["h2", "http/1.1"])).rejects.toThrow(/no application protocol/);
      await expect(agreed("g", ["http/1.1"])).rejects.toThrow(/no application protocol/);
    });

    it.each(["TLSv1.2", "TLSv1.3"] as const)("%s: resumes sessions", async (version) => {
      await using app = await startApp(echo);
      await using plane = await start();
      const options = { minVersion: version, maxVersion: version };
      const name = `${APP}-${app.port}.${BASE}`;
      const client = await connectThrough(plane, name, options);
      await expect.poll(() => sessionOf(client)).toBeDefined();
      client.destroy();
      const again = await connectThrough(plane, name, {
        ...options,
        ...resuming(client),
      });
      expect(again.isSessionReused()).toBe(true);
      again.write("still routed");
      expect(String((await once(again, "data"))[0])).toBe("still routed");
      again.destroy();
    });

    it("a certificate taken anew, the same too, brings new keys for sessions", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}.${BASE}`;
      const client = await connectThrough(plane, name);
      await expect.poll(() => sessionOf(client)).toBeDefined();
      plane.setCertificate(certificate);
      const isReused = async (): Promise<boolean> => {
        const again = await connectThrough(plane, name, resuming(client));
        const reused = again.isSessionReused();
        again.destroy();
        return reused;
      };
      await expect.poll(isReused).toBe(false);
      client.destroy();
    });

    it("P3: dials nobody before the handshake is done", async () => {
      await using app = await startApp(echo);
      await using plane = await start({ limits: { handshakeMs: 300 } });
      const socket = await connectTcp(plane);
      const began = performance.now();
      socket.write(await realHello(`${APP}-${app.port}.${BASE}`));
      await closeOf(socket);
      expect(performance.now() - began).toBeGreaterThan(290);
      expect(app.sockets).toEqual([]);
    });

    it("P6: serves a new certificate from now on and leaves open connections alone", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}.${BASE}`;
      const old = await connectThrough(plane, name);
      const renewed = makeCertificate(`*.${BASE}`);
      plane.setCertificate(checked(renewed));
      const fresh = await eventually(() => connectThrough(plane, name, { ca: renewed.certPem }));
      expect(fresh.authorized).toBe(true);
      old.write("still here");
      expect(String((await once(old, "data"))[0])).toBe("still here");
      old.destroy();
      fresh.destroy();
    });

    it("answers 502 to HTTP when the app's port is closed", async () => {
      const app = await startApp(echo);
      await app[Symbol.asyncDispose]();
      await using plane = await start();
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`, {
        ALPNProtocols: ["http/1.1"],
      });
      expect(String(await readAll(client))).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    });
  });

  describe("refusals", () => {
    it("answers unrecognized_name to every name that leads nowhere, and the same to each", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await start({ onConnection: (report) => seen.push(report) });
      for (const name of [
        `${"0".repeat(40)}.${BASE}`, // P3: not registered
        `${APP}-22.${BASE}`, // P3: port not allowed
        `x.${BASE}`,
        BASE,
        "shop.example.com",
        "10.0.0.1",
      ]) {
        expect(await answerTo(plane, helloFor(name)), name).toEqual(alertBytes("unrecognized_name"));
      }
      expect(await answerTo(plane, records(helloMessage()))).toEqual(alertBytes("unrecognized_name"));
      await expect
        .poll(() => seen.map((report) => report.outcome).toSorted()) // several threads tell of them
        .toEqual([
          ...["no_name", "no_name", "port_not_allowed"],
          ...["unknown_name", "unknown_name", "unknown_name", "unknown_name"],
        ]);
    });

    it("answers plain HTTP with a page that says what is wrong", async () => {
      await using plane = await start();
      const answer = String(await answerTo(plane, Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n")));
      expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
      const [head = "", body = ""] = answer.split("\r\n\r\n");
      expect(head).toContain(`Content-Length: ${body.length}`);
      expect(body).toContain("https://");
    });

    it("closes on bytes that are no TLS and answers decode_error to a broken hello", async () => {
      await using plane = await start();
      const sslv2 = Buffer.from("802e0100020015000000100100800300800700c0", "hex");
      expect(await answerTo(plane, sslv2)).toEqual(Buffer.alloc(0));
      expect(await answerTo(plane, Buffer.from([0, 1, 2, 3]))).toEqual(Buffer.alloc(0));
      expect(await answerTo(plane, Buffer.from("1603010000", "hex"))).toEqual(alertBytes("decode_error"));
    });

    it("answers internal_error when the app's port is closed and TLS is the app's", async () => {
      const app = await startApp(echo);
      await app[Symbol.asyncDispose]();
      await using plane = await start();
      const answer = await answerTo(plane, helloFor(`${APP}-${app.port}s.${BASE}`));
      expect(answer).toEqual(alertBytes("internal_error"));
    });
  });

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
      await using plane = await start({ limits: { firstByteMs: 200, helloMs: 500 } });
      const began = performance.now();
      const silent = await connectTcp(plane);
      await closeOf(silent);
      expect(performance.now() - began).toBeLessThan(480);
      const slow = await connectTcp(plane);
      const hello = helloFor(`${APP}-8080s.${BASE}`);
      let at = 0;
      const drip = setInterval(() => slow.write(hello.subarray(at, ++at)), 50);
      await closeOf(slow);
      clearInterval(drip);
      expect(at).toBeGreaterThan(3);
      expect(at).toBeLessThan(hello.length);
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

    it("P4: ends connections that are idle, and half-closed ones sooner", async () => {
      const seen: ConnectionReport[] = [];
      await using app = await startApp(() => {});
      await using plane = await start({
        limits: { idleMs: 2_500, halfClosedMs: 100 },
        onConnection: (report) => seen.push(report),
      });
      const hello = helloFor(`${APP}-${app.port}s.${BASE}`);
      const [idle, halfClosed] = [await connectTcp(plane), await connectTcp(plane)];
      idle.write(hello);
      halfClosed.end(hello);
      const began = performance.now();
      const closedAfter = async (socket: Socket): Promise<number> => {
        await closeOf(socket);
        return performance.now() - began;
      };
      const [idleMs, halfClosedMs] = await Promise.all([closedAfter(idle), closedAfter(halfClosed)]);
      expect(idleMs).toBeGreaterThan(2_400);
      expect(halfClosedMs).toBeLessThan(2_400);
      await expect.poll(() => seen.map((report) => report.outcome)).toEqual(["idle", "idle"]);
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

  blockedContract(start);

  describe("a client that does more than it should", () => {
    it("P4: a refused one counts for its source until it is really gone", async () => {
      await using plane = await start({ limits: { connectionsPerSource: 2 } });
      const refused = [await connectTcp(plane), await connectTcp(plane)];
      for (const socket of refused) {
        socket.write(helloFor(`x.${BASE}`));
        expect((await once(socket, "data"))[0]).toEqual(alertBytes("unrecognized_name")); // and stays
      }
      await expectTurnedAway(plane);
      for (const socket of refused) socket.destroy();
      const comesIn = async (): Promise<boolean> =>
        (await answerTo(plane, helloFor(`x.${BASE}`)).catch(() => Buffer.alloc(0))).length > 0;
      await expect.poll(comesIn).toBe(true);
    });

    it("P4: cannot renegotiate TLS 1.2 to make us work", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`, { maxVersion: "TLSv1.2" });
      const renegotiated = new Promise<Error | null>((resolve) => {
        client.once("error", resolve);
        client.renegotiate({ rejectUnauthorized: false }, resolve);
      });
      expect(await renegotiated).toMatchObject({ message: expect.stringMatching(/no renegotiation/) });
      client.destroy();
    });

    it("P1: names with NUL, other characters, too many or no labels reach nobody", async () => {
      const asked: string[] = [];
      await using plane = await start({
        lookup: (domain) => {
          asked.push(domain);
          return Promise.resolve(undefined);
        },
      });
      const names = [
        `a\0.${BASE}`,
        `a\r\nb.${BASE}`,
        `_x.${BASE}`,
        `..${BASE}`,
        `../${BASE}`,
        `${"a".repeat(250)}.com`,
      ];
      for (const name of [...names, "127.0.0.1", "[::1]", "localhost", "", "xn--\u00fc.example.org"]) {
        expect(await answerTo(plane, helloFor(name)), name).toEqual(alertBytes("unrecognized_name"));
      }
      expect(asked).toEqual([]);
    });
  });

  describe("routes", () => {
    it.each<[string, (id: string, port: number, base: string) => string]>([
      ["the id in capitals", (id, port, base) => `${id.toUpperCase()}-${port}.${base}`],
      ["a dot at its end", (id, port, base) => `${id}-${port}.${base}.`],
      ["a capital S", (id, port, base) => `${id}-${port}S.${base}.`],
      ["another of our base domains", (id, port) => `${id}-${port}s.apps.xn--bcher-kva.example`],
    ])("reaches an app by a name with %s", async (_, nameOf) => {
      await using app = await startApp((socket) => socket.once("data", () => socket.end("reached")));
      const baseDomains = [BASE, "apps.xn--bcher-kva.example"];
      await using plane = await start({
        listeners: [{ host: "127.0.0.1", port: 0, passthroughOnly: true }],
        routes: { ...routesTo(backend()), baseDomains },
      });
      for (const id of [APP, INSTANCE]) {
        expect(String(await answerTo(plane, helloFor(nameOf(id, app.port, BASE))))).toBe("reached");
      }
    });

    it.each([
      `${APP}-.${BASE}`,
      `${APP}-0.${BASE}`,
      `${APP}-08080.${BASE}`,
      `${APP}-65536.${BASE}`,
      `${APP}-8080sg.${BASE}`,
      `${APP}s8080.${BASE}`,
      `${APP.slice(1)}-8080.${BASE}`,
      `0x${APP}-8080.${BASE}`,
      `x.${APP}-8080.${BASE}`,
      `${APP}-8080.x.${BASE}`,
    ])("P3: %s is nobody's name, and nobody is asked for it", async (name) => {
      const asked: string[] = [];
      await using plane = await start({ lookup: async (domain) => void asked.push(domain) });
      expect(await answerTo(plane, helloFor(name))).toEqual(alertBytes("unrecognized_name"));
      expect(asked).toEqual([]);
    });

    it("P5: prefers the first instance and goes past dead ones", async () => {
      const seen: ConnectionReport[] = [];
      await using app = await startApp(echo, "127.0.0.3");
      // Nobody listens on that port at the first two addresses.
      const routes = routesTo(
        backend("127.0.0.1", "1".repeat(40)),
        backend("127.0.0.2", "2".repeat(40)),
        backend("127.0.0.3", "3".repeat(40)),
      );
      await using plane = await start({ routes, onConnection: (report) => seen.push(report) });
      const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
      client.write("hello");
      expect(String((await once(client, "data"))[0])).toBe("hello");
      await expect.poll(() => [...plane.stats().openByInstance]).toEqual([["3".repeat(40), 1]]);
      client.destroy();
      await expect.poll(() => seen.length).toBe(1);
      expect(seen[0]).toMatchObject({
        appId: APP,
        instanceId: "3".repeat(40),
        serverName: expect.any(String),
      });
    });

    it("P5: tries no more than three instances", async () => {
      await using app = await startApp(echo, "127.0.0.4");
      const routes = routesTo(...[1, 2, 3, 4].map((n) => backend(`127.0.0.${n}`, String(n).repeat(40))));
      await using plane = await start({ routes });
      const answer = await answerTo(plane, helloFor(`${APP}-${app.port}s.${BASE}`));
      expect(answer).toEqual(alertBytes("internal_error"));
    });

    it("reaches one instance by its own id", async () => {
      await using app = await startApp(echo, "127.0.0.2");
      const routes = routesTo(backend("127.0.0.1", "1".repeat(40)), backend("127.0.0.2", INSTANCE));
      await using plane = await start({ routes });
      const client = await connectThrough(plane, `${INSTANCE}-${app.port}.${BASE}`);
      client.write("hello");
      expect(String((await once(client, "data"))[0])).toBe("hello");
      client.destroy();
    });

    it("takes a new table for new connections and leaves open ones alone", async () => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}.${BASE}`;
      const open = await connectThrough(plane, name);
      plane.setRoutes(routesTo());
      await expect.poll(() => answerTo(plane, helloFor(name))).toEqual(alertBytes("unrecognized_name"));
      open.write("still here");
      expect(String((await once(open, "data"))[0])).toBe("still here");
      open.destroy();
    });

    it("asks where a custom domain leads, and passes it through", async () => {
      await using app = await startTlsApp(answerAfterEnd);
      const asked: string[] = [];
      await using plane = await start({
        lookup: (domain, source) => {
          asked.push(`${domain} for ${source}`);
          return Promise.resolve(domain === "shop.example.com" ? { id: APP, port: app.port } : undefined);
        },
      });
      for (const name of ["Shop.example.com", "shop.Example.com."]) {
        const client = await connectThrough(plane, name);
        expect(client.getPeerCertificate().subject.CN).toBe("app.internal");
        await expectWholeExchange(client);
      }
      expect(await answerTo(plane, helloFor("other.example.com"))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor(`x.${BASE}`))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor("xn--bcher-kva.example"))).toEqual(
        alertBytes("unrecognized_name"),
      );
      expect(asked).toEqual([
        "shop.example.com for 127.0.0.1",
        "shop.example.com for 127.0.0.1",
        "other.example.com for 127.0.0.1",
        "xn--bcher-kva.example for 127.0.0.1",
      ]);
    });

    it("P3: a custom domain leads to registered instances and allowed ports only", async () => {
      const answers = [
        { id: "0".repeat(40), port: 8080 },
        { id: APP, port: 22 },
        { id: APP, port: 8081 },
      ];
      const routes = routesTo({ ...backend(), publicPorts: [8080] });
      await using plane = await start({ routes, lookup: () => Promise.resolve(answers.shift()) });
      expect(await answerTo(plane, helloFor("c.example.com"))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor("a.example.com"))).toEqual(alertBytes("unrecognized_name"));
      expect(await answerTo(plane, helloFor("b.example.com"))).toEqual(alertBytes("unrecognized_name"));
    });

    it.each([
      ["terminated", ""],
      ["passed through", "s"],
    ])("P3: dials an instance only on the ports it has opened: %s", async (_, suffix) => {
      const seen: ConnectionReport[] = [];
      await using open = await startApp(
        (socket) => socket.once("data", () => socket.end("reached")),
        "127.0.0.2",
      );
      await using closed = await startApp(echo, "127.0.0.1");
      // Instances of an app may differ: one of each version, while it is upgraded.
      const older = [1, 2, 3].map((n) => ({
        ...backend("127.0.0.1", String(n).repeat(40)),
        publicPorts: [8090],
      }));
      const routes = routesTo(...older, { ...backend("127.0.0.2"), publicPorts: [8090, open.port] });
      await using plane = await start({ routes, onConnection: (report) => seen.push(report) });
      const refusal = alertBytes("unrecognized_name");
      for (const [id, port] of [
        [APP, closed.port],
        [INSTANCE, closed.port],
        ["1".repeat(40), open.port],
      ] as const) {
        expect(await answerTo(plane, helloFor(`${id}-${port}${suffix}.${BASE}`))).toEqual(refusal);
      }
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toEqual(Array(3).fill("port_not_allowed"));
      expect(closed.sockets).toEqual([]);
      for (const id of [APP, INSTANCE]) {
        const name = `${id}-${open.port}${suffix}.${BASE}`;
        if (suffix === "s") expect(String(await answerTo(plane, helloFor(name)))).toBe("reached");
        else {
          const client = await connectThrough(plane, name);
          client.write("hello");
          expect(String(await readAll(client))).toBe("reached");
          client.destroy();
        }
      }
    });

    it.each([
      ["fails", () => Promise.reject(new Error("no DNS"))],
      ["never answers", () => new Promise<undefined>(() => {})],
    ])("refuses a custom domain when the lookup %s", async (_, lookup) => {
      await using plane = await start({ lookup, limits: { lookupMs: 200 } });
      expect(await answerTo(plane, helloFor("a.example.com"))).toEqual(alertBytes("unrecognized_name"));
    });
  });

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

    it("P1: refuses a balancer's connection without one, or with a broken one, and a slow one", async () => {
      const seen: ConnectionReport[] = [];
      await using plane = await behindBalancer(["127.0.0.1"], {
        limits: { firstByteMs: 200, helloMs: 200 },
        onConnection: (report: ConnectionReport) => seen.push(report),
      });
      const began = performance.now();
      for (const bytes of [
        helloFor(`${APP}-8080s.${BASE}`),
        Buffer.from("PROXY TCP4 192.0.2.1 198.51.100.2 x 443\r\n"),
        Buffer.from(`PROXY UNKNOWN ${"x".repeat(200)}`),
        Buffer.from("PROXY TCP4 192.0.2.1"),
        told,
      ]) {
        expect(await answerTo(plane, bytes)).toEqual(Buffer.alloc(0));
      }
      expect(performance.now() - began).toBeGreaterThan(380);
      await expect
        .poll(() => seen.map(({ outcome }) => outcome).toSorted())
        .toEqual(["bad_proxy_header", "bad_proxy_header", "bad_proxy_header", "slow_hello", "slow_hello"]);
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
        .poll(async () => (await plane.connections(9)).map(({ source }) => source))
        .toEqual(["192.0.2.2", "192.0.2.1"]);
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
    ])(
      "brings 8 MB back as they went, past slow readers, %s",
      async (_, suffix) => {
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
      },
      60_000,
    );

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
      await using plane = await start();
      const name = `${APP}-${app.port}.${BASE}`;
      const open = await connectThrough(plane, name);
      await plane.setAccepting(false);
      await plane.setAccepting(false);
      await expect(connectTcp(plane)).rejects.toThrow(/ECONNREFUSED/);
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
      const drained = plane.drain({ instanceId: INSTANCE }, 60_000);
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
      await expect.poll(() => seen.map(({ outcome }) => outcome)).toEqual(["finished", "drained"]);
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

async function answerOn(socket: Socket, bytes: Uint8Array): Promise<string> {
  socket.write(bytes);
  return String(await readAll(socket));
}

/** Bytes that the kernel has still to send to this port, also of sockets that are closed. */
async function waitingFor(port: number): Promise<number> {
  const to = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const lines = (await readFile("/proc/net/tcp", "utf8")).split("\n").map((line) => line.trim().split(/\s+/));
  return lines
    .filter(([, , remote = ""]) => remote.endsWith(to))
    .reduce((sum, [, , , , queues = ""]) => sum + parseInt(queues, 16), 0);
}
