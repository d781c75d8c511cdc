import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputError } from "@dstack/core";
import { describe, expect, it, onTestFinished } from "vitest";
import { ListenError, createApp, inheritedSockets, listenHttp, silentLogger } from "../src/index.js";

describe("inheritedSockets", () => {
  const read = (env: NodeJS.ProcessEnv) => [...inheritedSockets(env, 77)];

  it("names the descriptors that follow standard error", () => {
    expect(read({ LISTEN_PID: "77", LISTEN_FDS: "2", LISTEN_FDNAMES: "tappd:dstack" })).toEqual([
      ["tappd", 3],
      ["dstack", 4],
    ]);
  });

  it("takes nothing that was meant for another process", () => {
    expect(read({ LISTEN_PID: "78", LISTEN_FDS: "1", LISTEN_FDNAMES: "tappd" })).toEqual([]);
    expect(read({ LISTEN_FDS: "1" })).toEqual([]);
    expect(read({})).toEqual([]);
  });

  it("leaves nothing for children", () => {
    const env = { LISTEN_PID: "77", LISTEN_FDS: "1", LISTEN_FDNAMES: "tappd", PATH: "/bin" };
    inheritedSockets(env, 77);
    expect(env).toEqual({ PATH: "/bin" });
  });

  it.each([
    [{ LISTEN_FDS: "2", LISTEN_FDNAMES: "a:a" }, /twice/],
    [{ LISTEN_FDS: "2" }, /twice/],
    [{ LISTEN_FDS: "999999", LISTEN_FDNAMES: "a" }, /LISTEN_FDS/],
    [{ LISTEN_FDS: "-1", LISTEN_FDNAMES: "a" }, /LISTEN_FDS/],
  ])("refuses %j", (env, why) => {
    expect(() => inheritedSockets({ LISTEN_PID: "77", ...env }, 77)).toThrow(InputError);
    expect(() => inheritedSockets({ LISTEN_PID: "77", ...env }, 77)).toThrow(why);
  });
});

describe("listenHttp on an inherited descriptor", () => {
  const app = () => createApp({ log: silentLogger() });

  it("refuses a TCP port: whoever reaches it would have the keys of the app", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    onTestFinished(() => void server.close());
    const { _handle: handle } = server as unknown as { _handle: { fd: number } };
    const index = new URL("../src/index.ts", import.meta.url).href;
    const script = `import(${JSON.stringify(index)}).then(async ({ createApp, listenHttp, silentLogger }) => {
      const address = { path: "/run/x.sock", fd: 3 };
      await listenHttp({ app: createApp({ log: silentLogger() }), address });
    }).then(() => console.log("listens"), (err) => console.log(err.code));`;
    // In a process of its own: ours has the descriptor in use.
    const child = spawn(process.execPath, ["--import", "tsx", "-e", script], {
      stdio: ["ignore", "pipe", "inherit", handle.fd],
    });
    onTestFinished(() => void child.kill());
    if (child.stdout === null) throw new Error("standard output is a pipe");
    expect(String((await once(child.stdout, "data"))[0])).toBe("not_a_unix_socket\n");
  });

  it("refuses a descriptor that is nothing to listen on, or not there", async () => {
    const directory = await mkdtemp(join(tmpdir(), "inherited-"));
    onTestFinished(() => rm(directory, { recursive: true, force: true }));
    for (const fd of [0, 900]) {
      await expect(listenHttp({ app: app(), address: { path: "/run/x.sock", fd } })).rejects.toThrow(
        ListenError,
      );
    }
  });
});
