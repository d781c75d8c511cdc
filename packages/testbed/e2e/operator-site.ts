import { execa } from "execa";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { killIfThere } from "./machine.js";

export const checkout = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");

/** A daemon gives itself ten seconds. */
const STOP_LIMIT_MS = 60_000;

/** An operator's build directory and its daemons, in a network namespace of their own: the usual ports are free there. */
export class OperatorSite {
  readonly #daemons: { kill: (signal: NodeJS.Signals) => void; ended: Promise<number | undefined> }[] = [];

  private constructor(
    readonly namespace: string,
    readonly root: string,
  ) {}

  static async create(): Promise<OperatorSite> {
    const namespace = `dstack-site-${process.pid}`;
    await execa("ip", ["netns", "add", namespace]);
    await execa("ip", ["-n", namespace, "link", "set", "lo", "up"]);
    const root = await mkdtemp(join(tmpdir(), "dstack-site-"));
    await mkdir(join(root, "build"));
    return new OperatorSite(namespace, root);
  }

  path(...parts: string[]): string {
    return join(this.root, "build", ...parts);
  }

  /** Runs a command in the build directory, as a person would there. */
  async run(
    command: string,
    args: readonly string[] = [],
    { timeoutMs = 180_000, env = {} }: { timeoutMs?: number; env?: Record<string, string> } = {},
  ): Promise<{ exitCode: number | undefined; stdout: string; stderr: string }> {
    const { exitCode, stdout, stderr } = await execa("ip", this.#inside(command, args), {
      cwd: this.path(),
      stdin: "ignore",
      reject: false,
      timeout: timeoutMs,
      env,
    });
    return { exitCode, stdout, stderr };
  }

  /** Starts a program that stays; what it writes goes to `<name>.log`. */
  start(name: string, command: string, args: readonly string[] = []): void {
    const file = { file: join(this.root, `${name}.log`) };
    const child = execa("ip", this.#inside(command, args), {
      cwd: this.path(),
      stdin: "ignore",
      reject: false,
      stdout: file,
      stderr: file,
    });
    this.#daemons.push({
      kill: (signal) => void child.kill(signal),
      ended: child.then(({ exitCode }) => exitCode),
    });
  }

  log(name: string): Promise<string> {
    return readFile(join(this.root, `${name}.log`), "utf8");
  }

  /** Changes settings of build-config.sh in place. */
  async configure(settings: Readonly<Record<string, string>>): Promise<void> {
    const file = join(this.root, "build-config.sh");
    let text = await readFile(file, "utf8");
    for (const [name, value] of Object.entries(settings)) {
      const line = new RegExp(`^${name}=.*$`, "m");
      if (!line.test(text)) throw new Error(`build-config.sh has no ${name}`);
      text = text.replace(line, () => `${name}=${value}`);
    }
    await writeFile(file, text);
  }

  /** Ends the daemons, newest first, as Ctrl-C in their terminals would. @returns their exit codes */
  async stop(): Promise<(number | undefined)[]> {
    const codes: (number | undefined)[] = [];
    for (const daemon of this.#daemons.splice(0).toReversed()) {
      daemon.kill("SIGINT");
      const limit = setTimeout(() => daemon.kill("SIGKILL"), STOP_LIMIT_MS);
      codes.push(await daemon.ended);
      clearTimeout(limit);
    }
    return codes;
  }

  async destroy(): Promise<void> {
    const { stdout } = await execa("ip", ["netns", "pids", this.namespace], { reject: false });
    for (const pid of stdout.split("\n").filter((line) => line !== "")) killIfThere(Number(pid));
    await Promise.all(this.#daemons.map(({ ended }) => ended));
    await execa("ip", ["netns", "del", this.namespace], { reject: false });
    await rm(this.root, { recursive: true, force: true });
  }

  #inside(command: string, args: readonly string[]): string[] {
    return ["netns", "exec", this.namespace, command, ...args];
  }
}
