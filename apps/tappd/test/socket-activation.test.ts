import { spawn } from "node:child_process";
import { link, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { ResourceStack } from "@dstack/daemon";
import { SimulatorClient, startSimulatorService } from "@dstack/tdx-attest";
import { afterAll, expect, it } from "vitest";
import { configFile } from "./support/config-file.js";
import { curlJson } from "./support/curl.js";
import { bootGuest } from "./support/tappd-fixture.js";

const stack = new ResourceStack();
afterAll(() => stack[Symbol.asyncDispose]());

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Process ids in the order in which tappd says that it serves. */
function servings(lines: NodeJS.ReadableStream): AsyncIterator<number> {
  async function* pids(): AsyncGenerator<number> {
    for await (const text of createInterface({ input: lines })) {
      const line = JSON.parse(text) as { msg: string; pid: number };
      if (line.msg === "tappd is serving") yield line.pid;
    }
  }
  return pids();
}

it("a socket that a container has mounted outlives tappd, and callers wait for the next one", async () => {
  const dir = await mkdtemp(join(tmpdir(), "tappd-activation-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const seed = new Uint8Array(32).fill(3);
  const simulator = stack.use(await startSimulatorService({ seed, socketPath: join(dir, "simulator.sock") }));
  const guest = stack.use(await bootGuest({ provider: new SimulatorClient(simulator.socketPath) }));
  const { sockets } = guest.config;
  await writeFile(join(dir, "tappd.toml"), configFile(guest.config, simulator.socketPath));
  const holder = spawn(
    "perl",
    [
      ...[here("support/socket-holder.pl"), sockets.tappd, sockets.dstack],
      ...["node", "--import", "tsx", here("../src/main.ts"), "-c", join(dir, "tappd.toml")],
    ],
    { stdio: ["ignore", "pipe", "inherit"], cwd: here("..") },
  );
  stack.defer(() => holder.kill("SIGTERM"));
  const serving = servings(holder.stdout);
  const nextPid = async (): Promise<number> => Number((await serving.next()).value);

  // A bind mount of a file holds its inode, as another name for it does.
  const mounted = { tappd: join(dir, "mounted-tappd.sock"), dstack: join(dir, "mounted-dstack.sock") };
  const first = await nextPid();
  await link(sockets.tappd, mounted.tappd);
  await link(sockets.dstack, mounted.dstack);
  const appIds = async (): Promise<unknown[]> => {
    const infos = [
      curlJson(
        "--max-time",
        "60",
        "--unix-socket",
        mounted.tappd,
        "-d",
        "{}",
        "http://localhost/prpc/Tappd.Info?json",
      ),
      curlJson("--max-time", "60", "--unix-socket", mounted.dstack, "-d", "{}", "http://localhost/Info?json"),
    ];
    return (await Promise.all(infos)).map((info) => info["app_id"]);
  };
  expect(await appIds()).toEqual([guest.appId, guest.appId]);
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    const before = signal === "SIGKILL" ? first : await nextPid();
    process.kill(before, signal);
    expect(await appIds()).toEqual([guest.appId, guest.appId]);
  }
});
