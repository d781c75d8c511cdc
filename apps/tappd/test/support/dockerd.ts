import { execFile, spawn } from "node:child_process";
import { access, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { ResourceStack } from "@dstack/daemon";

const run = promisify(execFile);

/** A Docker engine of our own: own state, own socket, no network, gone afterwards. */
export interface Engine extends AsyncDisposable {
  readonly socket: string;
  /** The docker command line client on this engine. */
  docker(...args: string[]): Promise<string>;
}

/** Why there can be no engine here, or undefined when there can. */
export async function whyNoEngine(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return "dockerd needs root";
  for (const [program, from] of [
    ["dockerd", "docker.io"],
    ["docker", "docker.io (docker-cli on newer releases)"],
    ["busybox", "busybox-static"],
  ] as const) {
    if (!(await exists(program))) return `${program} is missing; it is in the Debian package ${from}`;
  }
  return undefined;
}

async function exists(program: string): Promise<boolean> {
  return run("sh", ["-c", 'command -v "$0"', program]).then(
    () => true,
    () => false,
  );
}

/**
 * Starts dockerd in a mount namespace of its own and imports an image `busybox` made of the machine's static busybox.
 * @throws with the engine's last words when it does not come up
 */
export async function startEngine(): Promise<Engine> {
  await using stack = new ResourceStack();
  const dir = await mkdtemp(join(tmpdir(), "tappd-docker-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const socket = join(dir, "docker.sock");
  // vfs needs no kernel support; the mount namespace takes what the engine mounts with it.
  const args = [
    "--data-root",
    join(dir, "data"),
    "--exec-root",
    join(dir, "exec"),
    "--pidfile",
    join(dir, "pid"),
  ];
  const flags = [
    "--bridge=none",
    "--iptables=false",
    "--ip-forward=false",
    "--storage-driver=vfs",
    "--log-level=warn",
  ];
  const child = spawn(
    "unshare",
    ["--mount", "--propagation", "private", "dockerd", "-H", `unix://${socket}`, ...args, ...flags],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let words = "";
  child.stderr.on("data", (chunk: Buffer) => (words = (words + chunk.toString()).slice(-4000)));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  stack.defer(async () => {
    child.kill("SIGTERM");
    const limit = setTimeout(() => child.kill("SIGKILL"), 60_000);
    await ended;
    clearTimeout(limit);
  });

  const docker = async (...command: string[]): Promise<string> =>
    (await run("docker", ["-H", `unix://${socket}`, ...command])).stdout;
  const deadline = Date.now() + 300_000;
  while (!(await answers(docker))) {
    if (child.exitCode !== null || Date.now() > deadline)
      throw new Error(`dockerd did not come up: ${words}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  stack.defer(async () => {
    // A container left behind would outlive the engine with its shim.
    const containers = (await docker("ps", "--all", "--quiet")).split("\n").filter((id) => id !== "");
    if (containers.length > 0) await docker("rm", "--force", ...containers);
  });
  await importBusybox(dir, docker);
  const running = stack.move();
  return { socket, docker, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() };
}

async function answers(docker: Engine["docker"]): Promise<boolean> {
  return docker("version").then(
    () => true,
    () => false,
  );
}

async function importBusybox(dir: string, docker: Engine["docker"]): Promise<void> {
  const root = join(dir, "image");
  await mkdir(join(root, "bin"), { recursive: true });
  await mkdir(join(root, "etc"));
  await writeFile(join(root, "etc/passwd"), "root:x:0:0:root:/:/bin/sh\n");
  const { stdout } = await run("sh", ["-c", "command -v busybox"]);
  await access(stdout.trim());
  await run("cp", ["-L", stdout.trim(), join(root, "bin/busybox")]);
  await run("ln", ["-s", "busybox", join(root, "bin/sh")]);
  const tar = join(dir, "image.tar");
  await run("tar", ["-C", root, "-cf", tar, "."]);
  await docker("import", tar, "busybox:test");
}
