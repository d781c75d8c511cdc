import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DockerodeEngine } from "../src/docker/dockerode-engine.js";
import type { ListedContainer } from "../src/index.js";
import { curl, curlJson } from "./support/curl.js";
import { startEngine, whyNoEngine } from "./support/dockerd.js";
import type { Engine } from "./support/dockerd.js";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const reason = await whyNoEngine();
if (reason !== undefined) console.log(`skipping the tests with a real Docker engine: ${reason}`);

describe.skipIf(reason !== undefined)("with a real Docker engine", () => {
  let engine: Engine;
  let guest: Guest;
  let base: string;

  beforeAll(async () => {
    engine = await startEngine();
    const start = (name: string, script: string, ...flags: string[]): Promise<string> =>
      engine.docker(
        ...["run", "--detach", "--network=none", "--name", name, ...flags],
        ...["busybox:test", "/bin/busybox", "sh", "-c", script],
      );
    await start("talker", "echo one; echo two >&2; echo three");
    await start("terminal", "echo on a terminal", "--tty");
    await start("server", "while read line; do echo got $line; done", "--interactive");
    await engine.docker("wait", "talker", "terminal");
    guest = await bootGuest({
      compose: { public_logs: true },
      parts: { docker: new DockerodeEngine(engine.socket) },
    });
    const { external } = await guest.start();
    base = `http://127.0.0.1:${external.port}`;
  });
  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await engine[Symbol.asyncDispose]();
  });

  const messages = async (query: string): Promise<{ channel: string; message: string }[]> => {
    const { status, text } = await curl(`${base}/logs/${query}`);
    expect([query, status]).toEqual([query, 200]);
    const lines = text.split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as { channel: string; message: string });
  };
  /** stdout and stderr reach the engine over two pipes: their order is its own. */
  const sorted = (items: { channel: string; message: string }[]): string[] =>
    items.map(({ channel, message }) => `${channel}:${message}`).toSorted();

  it("lists the containers, stopped ones too", async () => {
    const { containers } = (await curlJson(`${base}/prpc/Worker.ListContainers`)) as {
      containers: (Record<string, unknown> & { names: string[] })[];
    };
    const byName = new Map(containers.map((container) => [container.names[0], container]));
    expect(new Set(byName.keys())).toEqual(new Set(["/server", "/talker", "/terminal"]));
    expect(byName.get("/server")).toMatchObject({ image: "busybox:test", state: "running" });
    expect(byName.get("/talker")).toMatchObject({
      state: "exited",
      status: expect.stringMatching(/^Exited/) as string,
    });
    const id = (await engine.docker("inspect", "--format", "{{.Id}} {{.Created}}", "talker"))
      .trim()
      .split(" ");
    expect(byName.get("/talker")?.["id"]).toBe(id[0]);
    expect(byName.get("/talker")?.["created"]).toBe(Math.floor(Date.parse(id[1] ?? "") / 1000));
  });

  it("shows them on its pages, with their logs", async () => {
    const { status, text } = await curl(`${base}/containers`);
    const id = (await engine.docker("image", "inspect", "--format", "{{.Id}}", "busybox:test")).trim();
    expect(status).toBe(200);
    for (const part of ["talker", "terminal", "server", "exited: Exited (0)", "running: Up", id])
      expect(text).toContain(part);
    expect(text).toContain("none: not pulled from a registry");
    const log = (await curl(`${base}/containers/talker`)).text;
    expect(log).toMatch(/<pre>[^]*one[^]*three[^]*<\/pre>/);
    expect(log).toContain('<span class="stderr">two');
  });

  it("gives the log by name and by id, in both channels", async () => {
    const id = (await engine.docker("inspect", "--format", "{{.Id}}", "talker")).trim();
    for (const name of ["talker", id, id.slice(0, 12)]) {
      expect(sorted(await messages(`${name}?text`))).toEqual([
        "stderr:two\n",
        "stdout:one\n",
        "stdout:three\n",
      ]);
    }
  });

  it("answers the seed's line as printed", async () => {
    const query = "since=0&until=0&follow=true&text=true&timestamps=true&bare=true";
    const { text } = await curl(`${base}/logs/talker?${query}`); // ends, because the container has ended
    expect(text).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z one$/m);
    expect(text.trimEnd().split("\n")).toHaveLength(3);
  });

  it("tail, since and until choose lines", async () => {
    expect(await messages("talker?text&tail=1")).toHaveLength(1);
    expect(await messages("talker?text&tail=0")).toEqual([]);
    expect(await messages(`talker?text&since=${Math.floor(Date.now() / 1000) + 60}`)).toEqual([]);
    expect(await messages("talker?text&until=1")).toEqual([]);
    expect(await messages("talker?text&since=1h&until=0")).toHaveLength(3);
  });

  it("base64 is the exact line", async () => {
    const decoded = (await messages("talker")).map(({ message }) =>
      Buffer.from(message, "base64").toString(),
    );
    expect(decoded.toSorted()).toEqual(["one\n", "three\n", "two\n"]);
  });

  it("knows a container with a terminal by itself", async () => {
    expect(await messages("terminal?text")).toEqual([{ channel: "console", message: "on a terminal\r\n" }]);
  });

  it("follows a running container, and stops at the engine when the caller leaves", async () => {
    const client = spawn("curl", ["-sN", `${base}/logs/server?follow&text&bare&since=0`]);
    const input = spawn("docker", ["-H", `unix://${engine.socket}`, "attach", "server"], {
      stdio: ["pipe", "ignore", "inherit"],
    });
    for (const word of ["hello", "again"]) {
      input.stdin.write(`${word}\n`);
      const [data] = (await once(client.stdout, "data")) as [Buffer];
      expect(data.toString()).toBe(`got ${word}\n`);
    }
    input.kill();
    client.kill();
    await once(client, "exit");
  });

  it("holds no connection to the engine after callers have left", async () => {
    // As many as one client may have at once.
    const sockets = Array.from({ length: 4 }, () => {
      const socket = connect(Number(new URL(base).port), "127.0.0.1");
      socket.write("GET /logs/server?follow&since=0 HTTP/1.1\r\nhost: x\r\n\r\n");
      return socket;
    });
    await Promise.all(sockets.map((socket) => once(socket, "data")));
    const during = await engineConnections(engine.socket); // with idle ones that the client keeps for later
    expect(during).toBeGreaterThanOrEqual(4);
    for (const socket of sockets) socket.destroy();
    await expect.poll(() => engineConnections(engine.socket)).toBeLessThanOrEqual(during - 4);
  });

  it("answers 404 for an unknown container and 503 without an engine", async () => {
    expect((await curl(`${base}/logs/nobody`)).text).toBe('{"error":"no such container"}');
    const gone = new DockerodeEngine(`${engine.socket}.gone`);
    const listed: Promise<ListedContainer[]> = gone.listContainers(AbortSignal.timeout(5000));
    await expect(listed).rejects.toMatchObject({ rpcCode: "unavailable" });
  });
});

/** Connections that lead to the engine's socket, as the kernel counts them. */
async function engineConnections(socket: string): Promise<number> {
  const table = await readFile("/proc/net/unix", "utf8");
  return table.split("\n").filter((line) => line.endsWith(` ${socket}`)).length;
}
