import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { checkCertificate, createNativeDataPlane } from "../src/index.js";
import type { CheckedCertificate, DataPlane, NativeDataPlaneOptions } from "../src/index.js";
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
import { resetWhileBlockedContract } from "./contract/blocked.js";
import { PATIENT } from "./contract/common.js";
import { dataPlaneContract } from "./contract.js";
import { freePort } from "../../core/test/support/ports.js";
import { helloMessage, records } from "./hello.js";
import { childrenOf, wakeUpsOf } from "./processes.js";

const certificate = checkCertificate({ ...wildcard, baseDomains: [BASE], now: new Date() });

const start = (options: Partial<NativeDataPlaneOptions> = {}): Promise<DataPlane> =>
  createNativeDataPlane({
    ...{ listeners: listenHere, routes: routesTo(backend()), certificates: [certificate], limits: PATIENT },
    ...options,
  });

const echo = (socket: Socket): void => void socket.pipe(socket);

describe("native data plane", () => {
  dataPlaneContract(createNativeDataPlane);
  resetWhileBlockedContract(start);

  it("starts a dead engine again, with the routes, the certificate and the port of the one before", async () => {
    const troubles: Error[] = [];
    await using app = await startApp(echo);
    await using plane = await start({
      listeners: [{ host: "127.0.0.1", port: await freePort() }],
      routes: routesTo(),
      onTrouble: (error) => troubles.push(error),
    });
    plane.setRoutes(routesTo(backend()));
    const name = `${APP}-${app.port}.${BASE}`;
    const answers = async (): Promise<boolean> => {
      const client = await connectThrough(plane, name).catch(() => undefined);
      client?.destroy();
      return client !== undefined;
    };
    await expect.poll(answers).toBe(true); // the engine takes new routes a moment later
    await expect.poll(() => plane.stats().open).toBe(0);
    const before = await connectThrough(plane, name);
    await expect.poll(() => plane.stats().open).toBe(1);
    const [engine] = await childrenOf(process.pid, "tls_proxy.node");
    process.kill(engine ?? 0, "SIGKILL");
    await closeOf(before);
    await expect.poll(answers).toBe(true);
    expect(troubles.map(String)).toEqual([expect.stringContaining("SIGKILL")]);
    await expect.poll(() => plane.stats()).toMatchObject({ open: 0, openByApp: new Map() });
  });

  it("P5: ends an engine that hangs, and starts it again", async () => {
    const troubles: Error[] = [];
    await using app = await startApp(echo);
    const listeners = [{ host: "127.0.0.1", port: await freePort() }];
    const onTrouble = (error: Error) => troubles.push(error);
    await using plane = await start({ listeners, silenceMs: 3_000, onTrouble });
    const before = await connectThrough(plane, `${APP}-${app.port}.${BASE}`);
    const [engine] = await childrenOf(process.pid, "tls_proxy.node");
    process.kill(engine ?? 0, "SIGSTOP");
    await closeOf(before);
    const answers = () =>
      connectThrough(plane, `${APP}-${app.port}.${BASE}`).then(
        (client) => client.destroy().destroyed,
        () => false,
      );
    await expect.poll(answers).toBe(true);
    expect(troubles[0]?.message).toContain("silent for 3 s");
  });

  it("leaves an engine alone that nobody asked for long, because its control plane did not run", async () => {
    const silenceMs = 6_000;
    const troubles: Error[] = [];
    await using plane = await start({ silenceMs, onTrouble: (error) => troubles.push(error) });
    const [before] = await childrenOf(process.pid, "tls_proxy.node");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, silenceMs + 1_500);
    await wait(silenceMs / 2); // time to judge it
    expect(troubles).toEqual([]);
    expect(await childrenOf(process.pid, "tls_proxy.node")).toEqual([before]);
    expect(plane.listeners).toHaveLength(1);
  });

  it("answers about connections also while an engine dies, and keeps not accepting", async () => {
    const listeners = [{ host: "127.0.0.1", port: await freePort() }];
    await using plane = await start({ listeners, onTrouble: () => {} });
    const client = await connectTcp(plane);
    await expect.poll(() => plane.stats().open).toBe(1);
    await plane.setAccepting(false);
    const [engine] = await childrenOf(process.pid, "tls_proxy.node");
    process.kill(engine ?? 0, "SIGSTOP");
    const [asked, closed] = [plane.connections(10), closeOf(client)];
    process.kill(engine ?? 0, "SIGKILL");
    expect(await asked).toEqual([]);
    await closed;
    await expect.poll(() => childrenOf(process.pid, "tls_proxy.node")).toHaveLength(1);
    await expect(connectTcp(plane)).rejects.toThrow(/ECONNREFUSED/);
    await plane.setAccepting(true);
    (await connectTcp(plane)).destroy();
  });

  it("P4: is not woken by who sends while the app does not read", async () => {
    await using app = await startApp((socket) => socket.pause());
    await using plane = await start({ threads: 1 });
    const client = await connectTcp(plane);
    client.on("error", () => {});
    client.write(records(helloMessage({ serverName: `${APP}-${app.port}s.${BASE}` })));
    // A little at a time until some of it stays in the kernel: there must be room for what comes then.
    for (let [before, still] = [-1, 0]; still < 5;) {
      await wait(100);
      const taken = (await plane.connections(1))[0]?.bytesToApp ?? 0;
      still = taken === before ? still + 1 : 0;
      if (still === 0) client.write(Buffer.alloc(256 << 10));
      before = taken;
    }
    const [engine = 0] = await childrenOf(process.pid, "tls_proxy.node");
    const before = await wakeUpsOf(engine);
    for (let i = 0; i < 100; i++) {
      client.write("x");
      await wait(5);
    }
    expect((await wakeUpsOf(engine)) - before).toBeLessThan(50);
    client.destroy();
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
    // As if it had passed the checks that stand in front.
    const weak = { ...certificate, ...weakCertificate(`*.${BASE}`) } as CheckedCertificate;
    await expect(start({ certificates: [weak] })).rejects.toThrow(/does not take the certificates/);
    const troubles: string[] = [];
    const listeners = [{ host: "127.0.0.1", port: await freePort() }];
    await using plane = await start({ listeners, onTrouble: (error) => troubles.push(error.message) });
    plane.setCertificates([weak]);
    await expect.poll(() => troubles).toEqual([expect.stringMatching(/those before stay/)]);
    // The next engine gets the one that is in use, too.
    const [engine] = await childrenOf(process.pid, "tls_proxy.node");
    process.kill(engine ?? 0, "SIGKILL");
    const refusal = () => connectThrough(plane, `${APP}-1.${BASE}`).catch(String);
    await expect.poll(refusal).toMatch(/unrecognized name/); // port 1 is not allowed
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
});
