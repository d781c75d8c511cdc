import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFile, readdir, rm } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const tsx = import.meta.resolve("tsx");

/** Why namespaces cannot be used here, or undefined when they can. */
export function namespacesUnavailable(): string | undefined {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
  } catch {
    return "wireguard-go needs /dev/net/tun";
  }
  return undefined;
}

const usedInterfaceNames = new Set<string>();

/** Network namespaces share the directory of control sockets: every name is used once. */
export function uniqueInterfaceName(): string {
  const name = `wt${randomBytes(5).toString("hex")}`;
  usedInterfaceNames.add(name);
  return name;
}

/** A network namespace that lives as long as one sleeping process. */
export class Namespace implements AsyncDisposable {
  private constructor(readonly holder: ChildProcess) {}

  static async create(): Promise<Namespace> {
    const holder = spawn(
      "unshare",
      ["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    if (holder.stdout !== null) await once(holder.stdout, "data");
    return new Namespace(holder);
  }

  /** Arguments that run a command inside. */
  enter(...command: string[]): [string, string[]] {
    return ["nsenter", [`--net=/proc/${this.holder.pid}/ns/net`, ...command]];
  }

  /** Runs a command inside and gives its output. */
  async run(...command: string[]): Promise<string> {
    const { stdout } = await run(...this.enter(...command), { timeout: 60_000 });
    return stdout;
  }

  /** Starts a TypeScript file inside, with three pipes. */
  script(file: URL, ...args: string[]): ChildProcess {
    const [command, prefix] = this.enter(process.execPath, "--import", tsx, fileURLToPath(file), ...args);
    return spawn(command, prefix, { stdio: ["pipe", "pipe", "inherit"] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.holder.kill("SIGKILL");
    if (this.holder.exitCode === null && this.holder.signalCode === null) await once(this.holder, "exit");
  }
}

/** A cable between two namespaces: `addressA` and `addressB` are addresses with prefix length. */
export async function connectNamespaces(
  a: Namespace,
  addressA: string,
  b: Namespace,
  addressB: string,
): Promise<void> {
  const id = randomBytes(4).toString("hex");
  const [endA, endB] = [`va${id}`, `vb${id}`];
  await a.run("ip", "link", "add", endA, "type", "veth", "peer", "name", endB, "netns", String(b.holder.pid));
  await a.run("ip", "address", "add", addressA, "dev", endA);
  await a.run("ip", "link", "set", endA, "up");
  await b.run("ip", "address", "add", addressB, "dev", endB);
  await b.run("ip", "link", "set", endB, "up");
}

/** Process ids of every wireguard-go that was started for this interface, in any namespace. */
export async function processesOf(name: string): Promise<number[]> {
  const found: number[] = [];
  for (const pid of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry))) {
    const argv = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
    if (basename(argv[0] ?? "") === "wireguard-go" && argv.includes(name)) found.push(Number(pid));
  }
  return found;
}

/** After a test: one that failed half-way may have killed the program that would have cleaned up. */
export async function killLeftovers(): Promise<void> {
  for (const name of usedInterfaceNames) {
    for (const pid of await processesOf(name)) process.kill(pid, "SIGKILL");
    await rm(`/var/run/wireguard/${name}.sock`, { force: true });
  }
  usedInterfaceNames.clear();
}
