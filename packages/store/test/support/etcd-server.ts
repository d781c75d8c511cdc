import { execFile, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { generateP256 } from "@dstack/ra-tls";
import type { CertificateAuthority } from "@dstack/ra-tls";
import { freePort } from "../../../core/test/support/ports.js";

/** Why etcd cannot be used here, or undefined when it can. */
export function etcdUnavailable(): string | undefined {
  return spawnSync("etcd", ["--version"]).error === undefined ? undefined : "etcd is not installed";
}

/** Certificate and key, PEM. */
export interface Pair {
  readonly cert: string;
  readonly key: string;
}

export async function issuePair(ca: CertificateAuthority, commonName: string): Promise<Pair> {
  const key = generateP256();
  const cert = await ca.issue({
    publicKey: key.publicKey,
    commonName,
    altNames: ["127.0.0.1"],
    usages: ["serverAuth", "clientAuth"],
    notAfter: new Date(Date.now() + 86_400_000),
  });
  return { cert, key: key.privateKeyPem };
}

/** One etcd member on loopback that can be stopped, killed and started again with its data. */
export class EtcdServer implements AsyncDisposable {
  #child: ChildProcess | undefined;
  /** Options of etcdctl with which it gets in. */
  #access: readonly string[] = [];

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

  /** One that speaks TLS only, and only with who has a certificate of this CA. */
  static async startWithTls(ca: CertificateAuthority): Promise<EtcdServer> {
    const dir = await mkdtemp(join(tmpdir(), "etcd-"));
    const { cert, key } = await issuePair(ca, "etcd");
    const files = Object.entries({ ca: ca.certPem, cert, key }).map(([name, pem]) => [
      join(dir, `${name}.pem`),
      pem,
    ]);
    for (const [path = "", pem = ""] of files) await writeFile(path, pem, { mode: 0o600 });
    const [caFile = "", certFile = "", keyFile = ""] = files.map(([path = ""]) => path);
    const server = new EtcdServer(dir, `https://127.0.0.1:${await freePort()}`, [
      ...["--cert-file", certFile, "--key-file", keyFile, "--trusted-ca-file", caFile, "--client-cert-auth"],
    ]);
    server.#access = ["--cacert", caFile, "--cert", certFile, "--key", keyFile];
    await server.start();
    return server;
  }

  /** Has it ask everybody for a password. This user may use this prefix, and nothing else. */
  async requireUser(name: string, password: string, prefix: string): Promise<void> {
    const root = "the-password-of-root";
    for (const command of [
      ["user", "add", `root:${root}`],
      ["user", "grant-role", "root", "root"],
      ["role", "add", name],
      ["role", "grant-permission", name, "readwrite", "--prefix", prefix],
      ["user", "add", `${name}:${password}`],
      ["user", "grant-role", name, name],
      ["auth", "enable"],
    ])
      await this.#control(...command);
    this.#access = [...this.#access, "--user", `root:${root}`];
  }

  async #control(...command: string[]): Promise<string> {
    const args = ["--endpoints", this.endpoint, ...this.#access, ...command];
    const env = { ...process.env, ETCDCTL_API: "3" };
    return (await promisify(execFile)("etcdctl", args, { env, timeout: 120_000 })).stdout;
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
      const health = this.endpoint.startsWith("https:")
        ? this.#control("endpoint", "health").then(() => true)
        : fetch(`${this.endpoint}/health`).then(async (answer) => (await answer.text()).includes('"true"'));
      if (await health.catch(() => false)) return;
      if (tries > 2_400) throw new Error("etcd does not start");
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

  /** Has it begin anew, with nothing. */
  async replace(): Promise<void> {
    await this.kill();
    await rm(join(this.dir, "data"), { recursive: true });
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.dir, { recursive: true, force: true });
  }
}
