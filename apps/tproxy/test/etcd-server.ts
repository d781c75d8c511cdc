import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Why etcd cannot be used here, or undefined when it can. */
export function etcdUnavailable(): string | undefined {
  return spawnSync("etcd", ["--version"]).error === undefined ? undefined : "etcd is not installed";
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** One etcd member on loopback that can be stopped, killed and started again with its data. */
export class EtcdServer implements AsyncDisposable {
  #child: ChildProcess | undefined;

  private constructor(
    readonly dir: string,
    readonly endpoint: string,
    readonly args: readonly string[],
  ) {}

  static async start(...args: string[]): Promise<EtcdServer> {
    const dir = await mkdtemp(join(tmpdir(), "etcd-"));
    const server = new EtcdServer(dir, `http://127.0.0.1:${await freePort()}`, args);
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const peer = `http://127.0.0.1:${await freePort()}`;
    this.#child = spawn(
      "etcd",
      [
        ...["--data-dir", join(this.dir, "data"), "--logger", "zap", "--log-level", "error"],
        ...["--listen-client-urls", this.endpoint, "--advertise-client-urls", this.endpoint],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
        ...["--initial-cluster", `default=${peer}`, "--force-new-cluster"],
        ...this.args,
      ],
      { stdio: "ignore" },
    );
    for (let tries = 0; ; tries++) {
      const health = await fetch(`${this.endpoint}/health`).then(
        async (answer) => (await answer.text()).includes('"true"'),
        () => false,
      );
      if (health) return;
      if (tries > 600) throw new Error("etcd does not start");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }
}
