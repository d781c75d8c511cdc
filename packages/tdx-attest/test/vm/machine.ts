/** The test VM, from its kernel to its last word. */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  access,
  chmod,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { withDeadline } from "@dstack/core";
import type { Line } from "./guest/chapter.js";

const run = promisify(execFile);
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const repo = here("../../../..");
const cache = process.env["DSTACK_IMAGE_CACHE"] ?? join(repo, "images/cache");
const QEMU = "qemu-system-x86_64";
/** Kernel modules of the VM, in no order; the guest loads them when it wants them. */
const MODULES = [
  "fs/configfs/configfs",
  "fs/fuse/cuse",
  "drivers/virt/coco/tsm",
  "net/vmw_vsock/vsock",
  "net/vmw_vsock/vmw_vsock_virtio_transport_common",
  "net/vmw_vsock/vsock_loopback",
];

/** Why the VM cannot run here, or nothing. */
export async function cannotRun(): Promise<string | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    return `the test kernel is for x86-64 Linux, this is ${process.platform} on ${process.arch}`;
  }
  return run(QEMU, ["--version"]).then(
    () => undefined,
    () => `${QEMU} does not run here: scripts/setup installs it`,
  );
}

export interface Machine {
  readonly kernel: string;
  readonly initramfs: string;
}

/** Fetches and builds what the VM needs. Kernel and module are kept for the next time, the rest goes into `dir`. */
export async function buildMachine(dir: string): Promise<Machine> {
  const kernel = join(cache, "test-kernel");
  await run(here("kernel.sh"), [kernel], { timeout: 1_800_000 });
  const release = (await readFile(join(kernel, "release"), "utf8")).trim();

  const root = join(dir, "root");
  for (const name of ["bin", "dev", "etc", "modules", "proc", "run", "sys", "tmp"]) {
    await mkdir(join(root, name), { recursive: true });
  }
  const installed = join(kernel, "lib/modules", release, "kernel");
  await Promise.all([
    ...MODULES.map((name) => unpackModule(join(installed, `${name}.ko.xz`), join(root, "modules"))),
    testModule(kernel, release).then((built) => copyFile(built, join(root, "modules/tdx_guest_test.ko"))),
    run("cc", [
      "-static",
      "-O2",
      "-Wall",
      "-Werror",
      "-o",
      join(root, "bin/vsock-relay"),
      here("vsock-relay.c"),
    ]),
    run(process.execPath, [join(repo, "scripts/bundle.mjs"), here("guest/main.ts"), join(root, "guest.mjs")]),
    run(here("../../build-addon.sh")),
    copyNode(root),
  ]);
  await copyFile(here("../../build/tdx_attest.node"), join(root, "tdx_attest.node"));
  await copyFile("/bin/busybox", join(root, "bin/busybox"));
  await copyFile(here("init"), join(root, "init"));
  for (const name of ["init", "bin/busybox"]) await chmod(join(root, name), 0o755);

  // Not compressed: unpacking costs more in the VM than reading.
  const initramfs = join(dir, "initramfs");
  await run("sh", ["-c", 'cd "$1" && find . | cpio --quiet -o -H newc -R 0:0 > "$2"', "sh", root, initramfs]);
  return { kernel: join(kernel, "boot", `vmlinuz-${release}`), initramfs };
}

async function unpackModule(from: string, dir: string): Promise<void> {
  const name = /([^/]+)\.xz$/.exec(from)?.[1] ?? "";
  await run("sh", ["-c", 'xz -dc "$1" > "$2"', "sh", from, join(dir, name)]);
}

/** Builds `module/` with the kernel's headers, unless it is there already. */
async function testModule(kernel: string, release: string): Promise<string> {
  const source = here("module");
  const files = await readdir(source);
  const hash = createHash("sha256").update(release);
  for (const file of files.toSorted()) hash.update(await readFile(join(source, file)));
  const built = join(kernel, `tdx_guest_test-${hash.digest("hex").slice(0, 16)}.ko`);
  const exists = await access(built).then(
    () => true,
    () => false,
  );
  if (exists) return built;
  const work = await mkdtemp(join(tmpdir(), "dstack-module-"));
  try {
    await cp(source, work, { recursive: true });
    const headers = join(kernel, "usr/src", `linux-headers-${release}`);
    // The compiler may be newer than the kernel's. BTF would need pahole.
    const variables = ["CC=gcc", "CONFIG_DEBUG_INFO_BTF_MODULES=", "KCFLAGS=-Werror"];
    await run("make", ["-s", "-C", headers, `M=${work}`, ...variables, "modules"]);
    await run("strip", ["--strip-debug", join(work, "tdx_guest_test.ko")]);
    await copyFile(join(work, "tdx_guest_test.ko"), `${built}.${process.pid}`);
    await rename(`${built}.${process.pid}`, built);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return built;
}

/** This Node, with the libraries it is linked to. */
async function copyNode(root: string): Promise<void> {
  const node = join(root, "bin/node");
  await run("strip", ["-o", node, process.execPath]);
  const { stdout } = await run("ldd", [process.execPath]);
  for (const [, library = ""] of stdout.matchAll(/(\/\S+)(?= \(0x)/g)) {
    const to = join(root, library);
    await mkdir(dirname(to), { recursive: true });
    await copyFile(library, to);
    await chmod(to, 0o755);
  }
}

export interface Outcome {
  readonly lines: readonly Line[];
  /** What kernel and programs said, for people. */
  readonly console: string;
  readonly seconds: number;
}

/** Runs the VM to its end. Emulated: hardware virtualisation would be faster, and is not everywhere. */
export async function runMachine(machine: Machine, dir: string, limitMs: number): Promise<Outcome> {
  const consolePath = join(dir, "console.log");
  await writeFile(consolePath, "");
  const started = Date.now();
  const qemu = spawn(
    QEMU,
    [
      ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
      // One thread for both vCPUs: teepod's `qemuArgs` says why.
      ...[
        "-accel",
        "tcg,thread=single",
        "-cpu",
        "qemu64",
        "-machine",
        "q35,hpet=off",
        "-smp",
        "2",
        "-m",
        "1536M",
      ],
      ...["-kernel", machine.kernel, "-initrd", machine.initramfs],
      ...["-append", "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on"],
      ...["-serial", `file:${consolePath}`, "-serial", "stdio"],
      ...["-device", "virtio-rng-pci"],
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const lines: Line[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    qemu.once("error", reject);
    qemu.once("close", () => resolve());
  });
  createInterface({ input: qemu.stdout }).on("line", (text) => {
    if (text.startsWith("{")) lines.push(JSON.parse(text) as Line);
  });
  try {
    await withDeadline("the test VM", limitMs, () => ended);
  } catch (err) {
    qemu.kill("SIGKILL");
    await ended.catch(() => {});
    console.error(err);
  }
  const seconds = (Date.now() - started) / 1000;
  return { lines, console: await readFile(consolePath, "utf8"), seconds };
}
