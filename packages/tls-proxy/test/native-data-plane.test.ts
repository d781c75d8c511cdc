import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { checkCertificate, createNativeDataPlane } from "../src/index.js";
import type { ConnectionReport, DataPlane, NativeDataPlaneOptions } from "../src/index.js";
import { engineCommand } from "../src/native/engine-command.js";
import {
  APP,
  BASE,
  backend,
  closeOf,
  connectTcp,
  connectThrough,
  listenHere,
  readAll,
  routesTo,
  startApp,
  wildcard,
} from "./apps.js";
import { weakCertificate } from "./certificates.js";
import { dataPlaneContract } from "./contract.js";
import { helloMessage, records } from "./hello.js";
import { childrenOf } from "./processes.js";

const certificate = checkCertificate({ ...wildcard, baseDomains: [BASE], now: new Date() });

const start = (options: Partial<NativeDataPlaneOptions> = {}): Promise<DataPlane> =>
  createNativeDataPlane({ listeners: listenHere, routes: routesTo(backend()), certificate, ...options });

const echo = (socket: Socket): void => void socket.pipe(socket);

/** Reads in small steps with pauses, so that everything on the way fills up. */
async function readSlowly(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    chunks.push(chunk as Buffer);
    if (chunks.length % 40 === 0) await wait(5);
  }
  return Buffer.concat(chunks);
}

describe("native data plane", () => {
  dataPlaneContract(createNativeDataPlane);

  it.each([
    ["through pipes, in clear", "s"],
    ["inside TLS", ""],
  ])(
    "brings 24 MB back as they went, past slow readers, %s",
    async (_, suffix) => {
      await using app = await startApp(echo);
      await using plane = await start();
      const name = `${APP}-${app.port}${suffix}.${BASE}`;
      await Promise.all(
        [1, 2].map(async () => {
          const hello = suffix === "s" ? records(helloMessage({ serverName: name })) : Buffer.alloc(0);
          const client = suffix === "s" ? await connectTcp(plane) : await connectThrough(plane, name);
          const sent = Buffer.concat([hello, randomBytes(24 << 20)]);
          const received = readSlowly(client);
          client.end(sent);
          const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
          expect(digest(await received)).toBe(digest(sent));
        }),
      );
    },
    60_000,
  );

  it("starts a dead engine again, with the routes, the certificate and the port of the one before", async () => {
    const troubles: Error[] = [];
    await using app = await startApp(echo);
    await using plane = await start({ routes: routesTo(), onTrouble: (error) => troubles.push(error) });
    plane.setRoutes(routesTo(backend()));
    const name = `${APP}-${app.port}.${BASE}`;
    const before = await connectThrough(plane, name);
    await expect.poll(() => plane.stats().open).toBe(1);
    const [engine] = await childrenOf(process.pid, "tls_proxy.node");
    process.kill(engine ?? 0, "SIGKILL");
    await closeOf(before);
    const answers = async (): Promise<boolean> => {
      const client = await connectThrough(plane, name).catch(() => undefined);
      client?.destroy();
      return client !== undefined;
    };
    await expect.poll(answers, { timeout: 10_000 }).toBe(true);
    expect(troubles.map(String)).toEqual([expect.stringContaining("SIGKILL")]);
    await expect.poll(() => plane.stats()).toMatchObject({ open: 0, openByApp: new Map() });
  });

  it("P4: waits with accepting when descriptors run out, and can still connect whom it has accepted", async () => {
    await using app = await startApp(echo);
    // 64 are kept for the process itself; each connection takes two.
    const command = ["/usr/bin/prlimit", "--nofile=128:128", ...engineCommand()];
    await using plane = await start({ command });
    const first = await connectTcp(plane);
    await expect.poll(() => plane.stats().open).toBe(1);
    const waiting: Socket[] = [];
    while (waiting.length < 80) waiting.push(await connectTcp(plane)); // the kernel's queue takes who is not accepted
    await expect.poll(() => plane.stats().open).toBe(32);
    first.write(records(helloMessage({ serverName: `${APP}-${app.port}s.${BASE}` })));
    await once(first, "data");
    expect(plane.stats().open).toBe(32);
    for (const socket of [first, ...waiting]) socket.destroy();
    const client = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
    client.end("still here");
    expect(String(await readAll(client))).toBe("still here");
  });

  it("P6: does not start with a certificate that OpenSSL does not take", async () => {
    const weak = checkCertificate({ ...weakCertificate(`*.${BASE}`), baseDomains: [BASE], now: new Date() });
    await expect(start({ certificate: weak })).rejects.toThrow(/does not take the certificate/);
    const troubles: string[] = [];
    await using plane = await start({ onTrouble: (error) => troubles.push(error.message) });
    plane.setCertificate(weak);
    await expect.poll(() => troubles).toEqual([expect.stringMatching(/the one before stays/)]);
    // The next engine gets the one that is in use, too.
    const [engine] = await childrenOf(process.pid, "tls_proxy.node");
    process.kill(engine ?? 0, "SIGKILL");
    const refusal = () => connectThrough(plane, `${APP}-1.${BASE}`).catch(String);
    await expect.poll(refusal, { timeout: 10_000 }).toMatch(/unrecognized name/); // port 1 is not allowed
    expect(troubles).toHaveLength(2);
  });

  it("has no rights it does not need, and nothing of our environment", async () => {
    await using plane = await start();
    expect(plane.listeners).toHaveLength(1);
    const [engine] = await childrenOf(process.pid, "tls_proxy.node");
    const status = await readFile(`/proc/${engine}/status`, "utf8");
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).not.toMatch(/^Uid:\t0/m);
    expect(status).toMatch(/^CapEff:\t0000000000000000$/m);
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
});
