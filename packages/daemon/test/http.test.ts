import { once } from "node:events";
import { access, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputError } from "@dstack/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Counter,
  addHealthAndMetrics,
  createApp,
  createLogger,
  createRegistry,
  listenHttp,
  silentLogger,
} from "../src/index.js";
import type { Listener } from "../src/index.js";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "listen-"));
});
afterAll(() => rm(dir, { recursive: true }));

const tcp = { host: "127.0.0.1", port: 0 };
const get = (listener: Listener, path: string) => fetch(`http://127.0.0.1:${listener.port}${path}`);

/** What a unix socket answers to a plain GET. */
async function askUnix(path: string): Promise<string> {
  const socket = createConnection(path);
  socket.end("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}

function helloApp(answer = "hello") {
  const app = createApp({ log: silentLogger() });
  app.get("/", async () => answer);
  return app;
}

describe("listenHttp on a unix socket", () => {
  it("has the wanted mode and goes away with the listener", async () => {
    const path = join(dir, "a.sock");
    const listener = await listenHttp({ app: helloApp(), address: { path, mode: 0o666 } });
    expect((await stat(path)).mode & 0o777).toBe(0o666);
    expect(await askUnix(path)).toContain("hello");
    await listener[Symbol.asyncDispose]();
    await expect(access(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("replaces what a crashed process left", async () => {
    const path = join(dir, "stale.sock");
    await writeFile(path, "");
    await using listener = await listenHttp({ app: helloApp(), address: { path, mode: 0o600 } });
    expect(await askUnix(listener.address)).toContain("hello");
  });

  it("refuses a path somebody listens on, and leaves it alone", async () => {
    const path = join(dir, "used.sock");
    await using first = await listenHttp({ app: helloApp("first"), address: { path, mode: 0o600 } });
    await expect(listenHttp({ app: helloApp("second"), address: { path, mode: 0o600 } })).rejects.toThrow(
      `another process already listens on ${path}`,
    );
    expect(await askUnix(first.address)).toContain("first");
  });

  it("does not remove a successor's socket", async () => {
    const path = join(dir, "successor.sock");
    const first = await listenHttp({ app: helloApp("first"), address: { path, mode: 0o600 } });
    await rm(path);
    await using second = await listenHttp({ app: helloApp("second"), address: { path, mode: 0o600 } });
    await first[Symbol.asyncDispose]();
    expect(await askUnix(second.address)).toContain("second");
  });
});

describe("listenHttp on TCP", () => {
  it("gives the address and the port it got", async () => {
    await using listener = await listenHttp({ app: helloApp(), address: tcp });
    expect(listener.address).toBe("127.0.0.1");
    expect(await (await get(listener, "/")).text()).toBe("hello");
  });

  it("says which port is taken", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    await expect(listenHttp({ app: helloApp(), address: { host: "127.0.0.1", port } })).rejects.toThrow(
      `port ${port} of 127.0.0.1 is already in use`,
    );
    other.close();
  });

  it("lets requests in flight finish and cuts streams that do not end", async () => {
    const app = createApp({ log: silentLogger() });
    let release: () => void = () => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    app.get("/slow", async () => {
      await released;
      return "done";
    });
    app.get("/stream", (_request, reply) => {
      reply.hijack();
      reply.raw.write("first line\n");
    });
    const listener = await listenHttp({ app, address: tcp });
    const slow = get(listener, "/slow");
    const stream = await get(listener, "/stream");
    const closing = listener[Symbol.asyncDispose]();
    release();
    expect(await (await slow).text()).toBe("done");
    await expect(stream.text()).rejects.toThrow();
    await closing;
  });
});

describe("createApp", () => {
  it("T3: closes connections above its limit at once, and takes new ones when others are gone", async () => {
    const app = createApp({ log: silentLogger(), limits: { connections: 2 } });
    app.get("/", async () => "hello");
    await using listener = await listenHttp({ app, address: tcp });
    const connect = async () => {
      const socket = createConnection(listener.port, "127.0.0.1");
      socket.on("error", () => {});
      await once(socket, "connect");
      return socket;
    };
    const held = [await connect(), await connect()];
    const refused = await connect();
    await once(refused, "close");
    for (const socket of held) {
      socket.destroy();
      await once(socket, "close");
    }
    await expect
      .poll(() =>
        get(listener, "/").then(
          (answer) => answer.status,
          () => 0,
        ),
      )
      .toBe(200);
  });

  it("answers errors as {error}, and an unexpected one with nothing but a request id", async () => {
    const lines: string[] = [];
    const log = createLogger({ name: "test", destination: { write: (line) => void lines.push(line) } });
    const app = createApp({ log });
    app.get("/input", async () => {
      throw new InputError("id must be a UUID");
    });
    app.get("/status", async () => {
      throw Object.assign(new Error("no such VM"), { statusCode: 404 });
    });
    app.get("/secret", async () => {
      throw new Error("password hunter2");
    });
    await using listener = await listenHttp({ app, address: tcp });
    const answer = async (path: string) => {
      const response = await get(listener, path);
      return {
        status: response.status,
        id: response.headers.get("x-request-id"),
        body: await response.json(),
      };
    };
    expect(await answer("/input")).toMatchObject({ status: 400, body: { error: "id must be a UUID" } });
    expect(await answer("/status")).toMatchObject({ status: 404, body: { error: "no such VM" } });
    expect(await answer("/nowhere")).toMatchObject({ status: 404, body: { error: "not found" } });
    expect(await answer("/%zz")).toMatchObject({
      status: 400,
      body: { error: expect.any(String) as string },
    });
    const secret = await answer("/secret");
    expect(secret).toMatchObject({ status: 500, body: { error: `internal error (request ${secret.id})` } });
    expect(lines.some((line) => line.includes(String(secret.id)) && line.includes("hunter2"))).toBe(true);
  });
});

describe("bytes that are no HTTP request", () => {
  it.each([
    ["\0\0\r\n\r\n", "400 Bad Request", "malformed HTTP request"],
    [`GET / HTTP/1.1\r\nx: ${"y".repeat(40_000)}\r\n\r\n`, "431 ", "the request's headers are too large"],
  ])("are answered as any other mistake (%#)", async (bytes, status, message) => {
    await using listener = await listenHttp({ app: helloApp(), address: tcp });
    const socket = createConnection(listener.port, "127.0.0.1");
    socket.write(bytes);
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    expect(text).toMatch(`HTTP/1.1 ${status}`);
    expect(text).toContain(`\r\n\r\n${JSON.stringify({ error: message })}`);
  });
});

describe("health and metrics", () => {
  it("tell whether the daemon can work, and count", async () => {
    const app = createApp({ log: silentLogger() });
    const registry = createRegistry();
    const calls = new Counter({ name: "calls_total", help: "calls", registers: [registry] });
    let broken: Error | undefined;
    addHealthAndMetrics(app, {
      registry,
      health: () => {
        if (broken !== undefined) throw broken;
      },
    });
    await using listener = await listenHttp({ app, address: tcp });
    expect(await (await get(listener, "/healthz")).json()).toEqual({ status: "ok" });
    broken = new Error("the log's hash chain is broken");
    const failing = await get(listener, "/healthz");
    expect(failing.status).toBe(503);
    expect(await failing.json()).toEqual({ status: "failing", error: "the log's hash chain is broken" });
    calls.inc(3);
    const metrics = await (await get(listener, "/metrics")).text();
    expect(metrics).toContain("calls_total 3");
    expect(metrics).toContain("process_resident_memory_bytes");
  });
});

describe("createLogger", () => {
  it("K4: writes no secret that stands under a known name, at the first three levels", () => {
    let text = "";
    const log = createLogger({ name: "kms", destination: { write: (line) => void (text += line) } });
    const keys = {
      app_key: "hunter2",
      privateKeyPem: "hunter2",
      disk_crypt_key: "hunter2",
      env_crypt_key: "hunter2",
    };
    log.info(keys, "one");
    log.info({ answer: keys, req: { headers: { authorization: "Bearer hunter2" } } }, "two");
    expect(text).not.toContain("hunter2");
    expect(text).toContain("[redacted]");
    expect(JSON.parse(text.split("\n", 1)[0] ?? "")).toMatchObject({ name: "kms", msg: "one" });
  });
});
