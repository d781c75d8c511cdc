import { errorCode } from "@dstack/core";
import type { Command } from "commander";
import { access, constants, readFile, statfs } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { Home } from "../local/home.js";
import { checkoutDir } from "../local/programs.js";
import { CliError, printResult } from "../output.js";
import type { GlobalOptions } from "../output.js";

export interface Finding {
  what: string;
  ok: boolean;
  /** What was found, or the command that mends it. */
  detail: string;
}

const GIB = 2 ** 30;
/** Image, cache and one data disk. */
const DISK_NEEDED_BYTES = 6 * GIB;

/** Program → Debian package that brings it. */
const PROGRAMS: Record<string, string> = {
  "qemu-system-x86_64": "qemu-system-x86",
  wg: "wireguard-tools",
  "wireguard-go": "wireguard-go",
  ip: "iproute2",
  "docker-registry": "docker-registry",
  mmdebstrap: "mmdebstrap",
  mksquashfs: "squashfs-tools",
  veritysetup: "cryptsetup-bin",
  cpio: "cpio",
  zstd: "zstd",
  xz: "xz-utils",
  depmod: "kmod",
  openssl: "openssl",
  flock: "util-linux",
  cc: "gcc",
};

async function findProgram(name: string): Promise<string | undefined> {
  for (const dir of [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"]) {
    const path = join(dir, name);
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return undefined;
}

async function canOpen(path: string): Promise<string | undefined> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
    return undefined;
  } catch (err) {
    return errorCode(err) ?? "error";
  }
}

/** Everything that a local installation needs and whether it is there. */
export async function examine(homeDir: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  findings.push({
    what: "Node.js 20.19 or later",
    ok: major > 20 || (major === 20 && minor >= 19),
    detail: process.version,
  });
  findings.push({
    what: "root",
    ok: process.getuid?.() === 0,
    detail:
      process.getuid?.() === 0 ? "yes" : "WireGuard and the image build need it: sudo ./scripts/quickstart",
  });
  for (const [name, debian] of Object.entries(PROGRAMS)) {
    const path = await findProgram(name);
    findings.push({
      what: name,
      ok: path !== undefined,
      detail: path ?? `sudo apt-get install ${debian}   (or ./scripts/setup)`,
    });
  }
  const tun = await canOpen("/dev/net/tun");
  findings.push({
    what: "/dev/net/tun",
    ok: tun === undefined,
    detail: tun === undefined ? "usable" : `${tun}: sudo modprobe tun`,
  });
  for (const name of ["kms", "tproxy", "teepod"]) {
    const path = join(checkoutDir(), "apps", name, "dist", `${name}.mjs`);
    const built = await access(path).then(
      () => true,
      () => false,
    );
    findings.push({ what: `program ${name}`, ok: built, detail: built ? path : "./scripts/setup" });
  }
  findings.push(await diskSpace(homeDir));
  findings.push(await memory());
  return findings;
}

async function diskSpace(homeDir: string): Promise<Finding> {
  const what = `disk space (${DISK_NEEDED_BYTES / GIB} GiB)`;
  for (let dir = homeDir; ; dir = join(dir, "..")) {
    try {
      const { bavail, bsize } = await statfs(dir);
      const free = bavail * bsize;
      const text = `${(free / GIB).toFixed(1)} GiB free under ${dir}`;
      return {
        what,
        ok: free >= DISK_NEEDED_BYTES,
        detail: free >= DISK_NEEDED_BYTES ? text : `${text}: make room, or choose another place with --home`,
      };
    } catch (err) {
      if (errorCode(err) !== "ENOENT" || dir === "/") throw err;
    }
  }
}

async function memory(): Promise<Finding> {
  const info = await readFile("/proc/meminfo", "utf8");
  const available = Number(/^MemAvailable:\s+(\d+) kB/m.exec(info)?.[1] ?? 0) / 1024;
  const ok = available >= 3072;
  return {
    what: "memory (3 GiB)",
    ok,
    detail: `${(available / 1024).toFixed(1)} GiB available${ok ? "" : ": end other programs first"}`,
  };
}

/** `dstack doctor` */
export function registerDoctor(program: Command): void {
  program
    .command("doctor")
    .description("check that everything needed is here, and name the command that mends what is not")
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const findings = await examine(Home.locate(options.home));
      printResult(options, findings, () =>
        findings.map((f) => `${f.ok ? "ok     " : "MISSING"} ${f.what}: ${f.detail}`).join("\n"),
      );
      const missing = findings.filter((f) => !f.ok).length;
      if (missing > 0) throw new CliError(`${missing} thing${missing === 1 ? " is" : "s are"} missing`);
    });
}
