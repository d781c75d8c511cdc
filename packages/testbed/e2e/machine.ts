import { execa } from "execa";
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const checkout = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..");

const CONSOLE_TAIL = 6000;

export interface Outcome {
  code: number;
  out: string;
  err: string;
}

/** Ends a process, unless it has ended meanwhile. */
export function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (err) {
    if (!(err instanceof Error && "code" in err && err.code === "ESRCH")) throw err;
  }
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
    // `ip netns exec` puts it in place of the host's: DNS is what a test starts, or nobody.
    await mkdir(join("/etc/netns", namespace), { recursive: true });
    await writeFile(join("/etc/netns", namespace, "resolv.conf"), "nameserver 127.0.0.1\n");
    return new Machine(namespace, await mkdtemp(join(tmpdir(), "dstack-e2e-")));
  }

  /** Runs a command inside the namespace; a failing one is an outcome, not an error. */
  async run(command: string, args: readonly string[], timeoutMs = 180_000): Promise<Outcome> {
    const result = await execa("ip", ["netns", "exec", this.namespace, command, ...args], {
      reject: false,
      timeout: timeoutMs,
      cwd: checkout,
      stdin: "ignore",
      env: { DSTACK_HOME: this.home },
    });
    return { code: result.exitCode ?? -1, out: result.stdout, err: result.stderr };
  }

  /** The end of each VM's console, for whoever reads why a test failed. */
  async consoles(): Promise<string> {
    const vms = (await readdir(this.home, { recursive: true }).catch(() => [])).filter((path) =>
      path.endsWith("/serial.log"),
    );
    const ends = vms.map(async (path) => {
      const text = await readFile(join(this.home, path), "latin1").catch(() => "");
      return `${path}:\n${text.slice(-CONSOLE_TAIL)}`;
    });
    return (await Promise.all(ends)).join("\n");
  }

  /** `scripts/dstack …`; throws unless it ends with the expected exit code. */
  async dstack(
    args: readonly string[],
    options: { code?: number; timeoutMs?: number } = {},
  ): Promise<string> {
    const outcome = await this.run(join(checkout, "scripts", "dstack"), args, options.timeoutMs ?? 300_000);
    if (outcome.code !== (options.code ?? 0)) {
      throw new Error(`dstack ${args.join(" ")} ended with ${outcome.code}:\n${outcome.err}\n${outcome.out}`);
    }
    return outcome.code === 0 ? outcome.out : outcome.err;
  }

  async json<T>(args: readonly string[], options: { timeoutMs?: number } = {}): Promise<T> {
    return JSON.parse(await this.dstack(["--json", ...args], options)) as T;
  }

  /** curl, which is how people and the first release's documents talk to this. */
  async curl(args: readonly string[], timeoutMs = 180_000): Promise<string> {
    const outcome = await this.run("curl", ["-sS", "--fail-with-body", ...args], timeoutMs);
    if (outcome.code !== 0)
      throw new Error(`curl ${args.join(" ")} ended with ${outcome.code}: ${outcome.err} ${outcome.out}`);
    return outcome.out;
  }

  /**
   * Starts a program of this folder inside the namespace and waits for the JSON document in its first line.
   * It ends when it is disposed.
   */
  async start<T>(source: string): Promise<{ said: T } & AsyncDisposable> {
    const program = join(this.home, `${source}.mjs`);
    const entry = join(checkout, "packages", "testbed", "e2e", `${source}.ts`);
    await execa("node", [join(checkout, "scripts", "bundle.mjs"), entry, program]);
    const child = execa("ip", ["netns", "exec", this.namespace, "node", program], {
      stdin: "ignore",
      reject: false,
    });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const first = await lines.next();
    if (first.done === true) throw new Error(`${source} ended: ${(await child).stderr}`);
    return {
      said: JSON.parse(first.value) as T,
      async [Symbol.asyncDispose]() {
        child.kill("SIGTERM");
        await child;
        await rm(program, { force: true });
      },
    };
  }

  /** Pushes an OCI image layout to the installation's registry. @returns `<repository>@<digest>` */
  async pushImage(layout: string, repository: string): Promise<string> {
    const base = `http://127.0.0.1:${(await this.state()).ports["registry"]}/v2/${repository}`;
    const blob = (digest: string): string => join(layout, "blobs", digest.replace(":", "/"));
    const index = JSON.parse(await readFile(join(layout, "index.json"), "utf8")) as {
      manifests: [{ digest: string; mediaType: string }];
    };
    const [{ digest, mediaType }] = index.manifests;
    const manifest = JSON.parse(await readFile(blob(digest), "utf8")) as Record<
      "config",
      { digest: string }
    > & {
      layers: { digest: string }[];
    };
    for (const part of [...manifest.layers, manifest.config]) {
      const head = await this.curl(["-X", "POST", "-D", "-", "-o", "/dev/null", `${base}/blobs/uploads/`]);
      const location = new URL(/^location: (\S+)/im.exec(head)?.[1] ?? "", base);
      location.searchParams.set("digest", part.digest);
      const octets = ["-H", "content-type: application/octet-stream"];
      await this.curl(["-X", "PUT", ...octets, "--data-binary", `@${blob(part.digest)}`, location.href]);
    }
    const typed = ["-H", `content-type: ${mediaType}`, "--data-binary", `@${blob(digest)}`];
    await this.curl(["-X", "PUT", ...typed, `${base}/manifests/${digest}`]);
    return `${repository}@${digest}`;
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
    await this.run(join(checkout, "scripts", "dstack"), ["down", "--purge"], 600_000);
    // What a failed test has left, and `down` does not know of.
    for (const line of await this.processes()) killIfThere(Number.parseInt(line));
    await execa("ip", ["netns", "del", this.namespace], { reject: false });
    await rm(join("/etc/netns", this.namespace), { recursive: true, force: true });
    await rm(this.home, { recursive: true, force: true });
  }
}
