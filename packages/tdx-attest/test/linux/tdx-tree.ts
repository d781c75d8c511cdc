import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, onTestFinished } from "vitest";
import { SimulatorClient, startSimulatorService } from "../../src/index.js";
import type { Faults, Scene } from "../fixtures/tdx-tree.js";
import { tempDir } from "../temp-dir.js";

/** Mounting needs root, and the kernel FUSE. */
export const canMount = process.getuid?.() === 0 && existsSync("/dev/fuse");

export interface TdxTree {
  readonly configfs: string;
  readonly sysfs: string;
  /** A device that no ioctl reaches. */
  readonly device: string;
  /** The TD behind the tree. */
  readonly td: SimulatorClient;
  /** Misbehaves in another way from now on. */
  become(faults: Faults): Promise<void>;
  /** Entries left in configfs. */
  entries(): Promise<number>;
}

let mounted: Promise<{ path: string; unmount: () => Promise<void> }> | undefined;

afterAll(async () => {
  const mount = await mounted;
  mounted = undefined;
  await mount?.unmount();
});

/** What Linux shows of TDX. One mount serves a whole test file; every call starts it anew, with a TD of its own. */
export async function tdxTree(faults: Faults = {}): Promise<TdxTree> {
  const { path } = await (mounted ??= mount());
  const dir = await tempDir();
  const socketPath = join(dir, "sim.sock");
  const service = await startSimulatorService({
    seed: new Uint8Array(32).fill(4),
    socketPath,
    device: join(dir, "no-device"),
  });
  onTestFinished(() => service[Symbol.asyncDispose]());
  const become = async (next: Faults): Promise<void> => {
    const scene: Scene = { socket: socketPath, faults: next };
    await writeFile(join(path, "scene"), JSON.stringify(scene));
  };
  onTestFinished(() => become({})); // lets go of calls that hang
  await become(faults);
  return {
    configfs: join(path, "report"),
    sysfs: join(path, "measurements"),
    device: join(dir, "no-device"),
    td: new SimulatorClient(socketPath),
    become,
    entries: async () => Number(await readFile(join(path, "entries"), "utf8")),
  };
}

/** The server is another process: in this one, a system call that waits for it would keep it from answering. */
async function mount(): Promise<{ path: string; unmount: () => Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), "dstack-tdx-tree-"));
  const path = join(dir, "mnt");
  await mkdir(path);
  const script = fileURLToPath(new URL("../fixtures/tdx-tree.ts", import.meta.url));
  const server = spawn(process.execPath, ["--import", "tsx", script, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(server, "exit");
  const ended = exited.then(() => {
    throw new Error("the tree's server ended");
  });
  ended.catch(() => {});
  await Promise.race([once(server.stdout, "data"), ended]);
  return {
    path,
    unmount: async () => {
      server.stdin.end();
      await exited;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
