import { execa } from "execa";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const checkout = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");

export interface Outcome {
  code: number;
  out: string;
  err: string;
}

/** A network namespace with only a loopback device, in which a whole local installation runs. */
export class Machine {
  private constructor(
    readonly namespace: string,
    readonly home: string,
  ) {}

  static async create(): Promise<Machine> {
    const namespace = `dstack-e2e-${process.pid}`;
    await execa("ip", ["netns", "add", namespace]);
    await execa("ip", ["-n", namespace, "link", "set", "lo", "up"]);
    return new Machine(namespace, await mkdtemp(join(tmpdir(), "dstack-e2e-")));
  }

  /** Runs a command inside the namespace; a failing one is an outcome, not an error. */
  async run(command: string, args: readonly string[], timeoutMs = 60_000): Promise<Outcome> {
    const result = await execa("ip", ["netns", "exec", this.namespace, command, ...args], {
      reject: false,
      timeout: timeoutMs,
      cwd: checkout,
      stdin: "ignore",
      env: { DSTACK_HOME: this.home },
    });
    return { code: result.exitCode ?? -1, out: result.stdout, err: result.stderr };
  }

  /** `scripts/dstack …`; throws unless it ends with the expected exit code. */
  async dstack(
    args: readonly string[],
    options: { code?: number; timeoutMs?: number } = {},
  ): Promise<string> {
    const outcome = await this.run(join(checkout, "scripts", "dstack"), args, options.timeoutMs ?? 120_000);
    if (outcome.code !== (options.code ?? 0)) {
      throw new Error(`dstack ${args.join(" ")} ended with ${outcome.code}:\n${outcome.err}\n${outcome.out}`);
    }
    return outcome.code === 0 ? outcome.out : outcome.err;
  }

  async json<T>(args: readonly string[], options: { timeoutMs?: number } = {}): Promise<T> {
    return JSON.parse(await this.dstack(["--json", ...args], options)) as T;
  }

  /** curl, which is how people and the first release's documents talk to this. */
  async curl(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    const outcome = await this.run("curl", ["-sS", "--fail-with-body", ...args], timeoutMs);
    if (outcome.code !== 0)
      throw new Error(`curl ${args.join(" ")} ended with ${outcome.code}: ${outcome.err} ${outcome.out}`);
    return outcome.out;
  }

  async state(): Promise<{
    ports: Record<string, number>;
    daemons: Record<string, { pid: number }>;
    wireguardInterface: string;
  }> {
    return JSON.parse(await readFile(join(this.home, "state.json"), "utf8")) as never;
  }

  /** Processes of the namespace, as `pid command`. */
  async processes(): Promise<string[]> {
    const { stdout } = await execa("ip", ["netns", "pids", this.namespace]);
    const pids = stdout.split("\n").filter((line) => line !== "");
    return Promise.all(
      pids.map(
        async (pid) =>
          `${pid} ${(await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ")}`,
      ),
    );
  }

  async interfaces(): Promise<string[]> {
    const { stdout } = await execa("ip", ["-n", this.namespace, "-j", "link"]);
    return (JSON.parse(stdout) as { ifname: string }[]).map((link) => link.ifname);
  }

  async files(): Promise<string[]> {
    return readdir(this.home).catch(() => []);
  }

  async destroy(): Promise<void> {
    await this.run(join(checkout, "scripts", "dstack"), ["down", "--purge"], 180_000);
    await execa("ip", ["netns", "del", this.namespace], { reject: false });
    await rm(this.home, { recursive: true, force: true });
  }
}
