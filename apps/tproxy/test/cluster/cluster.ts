import { spawn, execFileSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { killLeftovers, processesOf, uniqueInterfaceName } from "@dstack/wireguard-tools-wrapper/testing";
import { stringify } from "smol-toml";
import { BASE, ca, idOf, makeSite, writePair } from "../site.js";
import type { Site } from "../site.js";
import type { ClientAnswer, ClientCommand } from "./client.js";
import { Lan } from "./lan.js";
import type { Machine } from "./lan.js";

const PROXY_PORT = 8443;
const RPC_PORT = 9070;
const START_MS = 90_000;
/** As `packages/tls-proxy/build-addon.sh` makes it. */
const ADDON = fileURLToPath(new URL("../../../../packages/tls-proxy/build/tls_proxy.node", import.meta.url));

/** A program on a machine that prints lines. */
class Program {
  /** For those who look for the reason of a failure. */
  readonly said: string[] = [];
  readonly #lines: string[] = [];
  readonly #news = new EventEmitter();
  readonly #ended = new AbortController();

  constructor(readonly child: ChildProcess) {
    if (child.stdout === null) throw new Error("the program needs a pipe");
    child.once("exit", () => this.#ended.abort());
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.said.push(line);
      this.#lines.push(line);
      this.#news.emit("line");
    });
  }

  /** The next line that fits; earlier ones are dropped. */
  async line(fits: (line: string) => boolean): Promise<string> {
    const limit = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(START_MS)]);
    for (;;) {
      for (let next = this.#lines.shift(); next !== undefined; next = this.#lines.shift()) {
        if (fits(next)) return next;
      }
      if (limit.aborted) throw new Error(`the program does not say it: ${this.said.slice(-3).join("\n")}`);
      await once(this.#news, "line", { signal: limit }).catch(() => {});
    }
  }

  say(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill("SIGKILL");
    await once(this.child, "exit");
  }
}

export interface ClusterNode {
  readonly name: string;
  readonly machine: Machine;
  readonly site: Site;
  readonly rpcUrl: string;
}

export interface ClusterGuest {
  readonly app: string;
  readonly instance: string;
  /** What it was told at its registration. */
  ip: string;
  nodes: number;
}

export interface ClusterSize {
  readonly nodes: number;
  readonly etcd: number;
  readonly guests: number;
  /** Of the addresses inside the tunnel; 4 unless given. */
  readonly family?: 4 | 6;
}

/** Nodes of tproxy, members of etcd (or none, for one node) and guests, each on a machine of its own, and a client. */
export class Cluster implements AsyncDisposable {
  readonly nodes: ClusterNode[] = [];
  readonly etcd: Machine[] = [];
  readonly guests: ClusterGuest[] = [];
  readonly #programs = new Map<string, Program>();
  readonly #answers = new Map<number, (answer: ClientAnswer) => void>();
  #commands = 0;

  private constructor(
    readonly lan: Lan,
    readonly dir: string,
  ) {}

  static async start(size: ClusterSize): Promise<Cluster> {
    const cluster = new Cluster(await Lan.create(), await mkdtemp(join(tmpdir(), "cluster-")));
    try {
      await cluster.#start(size);
      return cluster;
    } catch (err) {
      for (const [name, program] of cluster.#programs)
        console.error(name, program.child.exitCode, program.said.slice(-6));
      await cluster[Symbol.asyncDispose]();
      throw err;
    }
  }

  async #start(size: ClusterSize): Promise<void> {
    await writeFile(join(this.dir, "ca.pem"), ca.certPem);
    for (const [name, file] of [
      ["tproxy", "../../src/main.ts"],
      ["guest", "guest.ts"],
      ["client", "client.ts"],
      ["pcs", "pcs.ts"],
    ] as const) {
      const entry = fileURLToPath(new URL(file, import.meta.url));
      const bundler = fileURLToPath(new URL("../../../../scripts/bundle.mjs", import.meta.url));
      execFileSync(process.execPath, [bundler, entry, join(this.dir, `${name}.mjs`)]);
    }
    await copyFile(ADDON, join(this.dir, "tls_proxy.node"));
    this.#run("pcs", { namespace: this.lan.hub, ip: "10.200.0.1" }, this.#node("pcs"));
    for (let n = 0; n < size.etcd; n++) this.etcd.push(await this.lan.add());
    for (let n = 0; n < size.etcd; n++) this.startEtcd(n);
    for (let n = 0; n < size.nodes; n++) await this.#addNode(n, size.family ?? 4);
    for (let n = 0; n < size.nodes; n++) await this.startNode(n);
    const client = this.#run("client", await this.lan.add(), this.#node("client", join(this.dir, "ca.pem")));
    await client.line(() => true);
    createInterface({ input: client.child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      const answer = JSON.parse(line) as ClientAnswer;
      this.#answers.get(answer.id)?.(answer);
    });
    await Promise.all(Array.from({ length: size.guests }, (_, n) => this.#addGuest(n)));
  }

  startEtcd(n: number): void {
    const url = (machine: Machine, port: number): string => `http://${machine.ip}:${port}`;
    const machine = this.etcd[n];
    if (machine === undefined) throw new Error(`no member ${n}`);
    this.#run(`etcd-${n}`, machine, [
      ...["etcd", "--name", `m${n}`, "--data-dir", join(this.dir, `etcd-${n}`)],
      ...[
        "--logger",
        "zap",
        "--log-level",
        "error",
        "--heartbeat-interval",
        "200",
        "--election-timeout",
        "2000",
      ],
      ...["--listen-client-urls", url(machine, 2379), "--advertise-client-urls", url(machine, 2379)],
      ...["--listen-peer-urls", url(machine, 2380), "--initial-advertise-peer-urls", url(machine, 2380)],
      ...["--initial-cluster", this.etcd.map((each, m) => `m${m}=${url(each, 2380)}`).join(",")],
    ]);
  }

  async killEtcd(n: number): Promise<void> {
    await this.#programs.get(`etcd-${n}`)?.kill();
  }

  /** The member that leads now. */
  async etcdLeader(): Promise<number> {
    const endpoints = this.etcd.map(({ ip }) => `http://${ip}:2379`);
    for (const [n, machine] of this.etcd.entries()) {
      const status = await machine.namespace
        .run("curl", "-sS", "-d", "{}", `${endpoints[n]}/v3/maintenance/status`)
        .catch(() => "{}");
      const { header, leader } = JSON.parse(status) as { header?: { member_id: string }; leader?: string };
      if (header !== undefined && header.member_id === leader) return n;
    }
    throw new Error("no member leads");
  }

  async #addNode(n: number, family: 4 | 6): Promise<void> {
    const machine = await this.lan.add();
    const block = family === 4 ? `10.77.${n * 16}.` : `fd77:${n}::`;
    const site = await makeSite({
      wg: {
        interface: uniqueInterfaceName(),
        ip: `${block}1`,
        client_ip_range: family === 4 ? `${block}0/20` : `${block}/64`,
        endpoint: `${machine.ip}:51820`,
      },
    });
    await writePair(site.dir, "rpc", machine.ip);
    const rpcUrl = `https://${machine.ip}:${RPC_PORT}`;
    const { proxy, attestation } = site.input;
    await mkdir(join(site.dir, "state"), { recursive: true });
    await writeFile(
      join(site.dir, "tproxy.toml"),
      stringify({
        ...site.input,
        host: machine.ip,
        port: RPC_PORT,
        status_from: "anywhere",
        require_fresh_evidence: true,
        node: `node-${n}`,
        rpc_url: rpcUrl,
        ...(this.etcd.length === 0
          ? {}
          : { store: "etcd", etcd: { endpoints: this.etcd.map(({ ip }) => `http://${ip}:2379`) } }),
        proxy: { ...proxy, engine: "native", listen_addr: "0.0.0.0", listen_port: PROXY_PORT },
        attestation: { ...attestation, pccs_url: "http://10.200.0.1:8081" },
      }),
    );
    this.nodes.push({ name: `node-${n}`, machine, site, rpcUrl });
  }

  /** @returns how long it took until it served, in milliseconds */
  async startNode(n: number): Promise<number> {
    const node = this.#nodeAt(n);
    const began = performance.now();
    const program = this.#run(
      node.name,
      node.machine,
      this.#node("tproxy", "--config", join(node.site.dir, "tproxy.toml")),
    );
    await program.line((line) => line.includes("tproxy is serving"));
    return performance.now() - began;
  }

  /** As when its machine loses power: tproxy and the tunnel. */
  async killNode(n: number): Promise<void> {
    const node = this.#nodeAt(n);
    await this.killTproxy(n);
    for (const pid of await processesOf(node.site.input.wg.interface)) process.kill(pid, "SIGKILL");
  }

  /** How long tproxy's main thread has waited, since its start, for a processor that others had; milliseconds. */
  async waitedForProcessor(n: number): Promise<number> {
    const pid = this.#programs.get(this.#nodeAt(n).name)?.child.pid;
    const [, nanoseconds = ""] = (await readFile(`/proc/${pid}/schedstat`, "utf8")).split(" ");
    return Number(nanoseconds) / 1e6;
  }

  async killTproxy(n: number): Promise<void> {
    await this.#programs.get(this.#nodeAt(n).name)?.kill();
  }

  async #addGuest(n: number): Promise<void> {
    const machine = await this.lan.add();
    const guest = { app: `app-${n % 4}`, instance: `guest-${n}`, ip: "", nodes: 0 };
    this.guests.push(guest);
    const { rpcUrl } = this.#nodeAt(n % this.nodes.length);
    const args = [rpcUrl, join(this.dir, "ca.pem"), uniqueInterfaceName(), guest.app, guest.instance];
    const program = this.#run(guest.instance, machine, this.#node("guest", ...args));
    Object.assign(guest, JSON.parse(await program.line((line) => line.startsWith("{"))));
  }

  /**
   * @param as `new`: with a new WireGuard key; any other name: that instance, which has no tunnel
   * @returns what the guest was told, or the error
   */
  async registerAgain(
    guest: ClusterGuest,
    node: ClusterNode,
    as?: string,
  ): Promise<{ ip?: string; nodes?: number; error?: string }> {
    const program = this.#programs.get(guest.instance);
    if (program === undefined) throw new Error("no such guest");
    program.say(`${node.rpcUrl}${as === undefined ? "" : ` ${as}`}`);
    return JSON.parse(await program.line((line) => line.startsWith("{"))) as { ip?: string };
  }

  /** One request of the client. An error comes as text that begins with `error:`. */
  async #request(command: Omit<ClientCommand, "id">): Promise<ClientAnswer> {
    const id = ++this.#commands;
    const answer = new Promise<ClientAnswer>((resolve) => this.#answers.set(id, resolve));
    this.#programs.get("client")?.say(JSON.stringify({ ...command, id }));
    return answer.finally(() => this.#answers.delete(id));
  }

  /** Asks one instance through one node. */
  fetch(node: ClusterNode, guest: ClusterGuest, connection?: string): Promise<ClientAnswer> {
    return this.#request({
      host: node.machine.ip,
      port: PROXY_PORT,
      name: `${idOf(guest.instance)}-8080.${BASE}`,
      path: "/",
      ...(connection === undefined ? {} : { connection }),
    });
  }

  async health(node: ClusterNode): Promise<string> {
    return (await this.#rpc(node, "/healthz")).text;
  }

  /** Address by instance id, as a node knows them. */
  async list(node: ClusterNode): Promise<Record<string, string>> {
    const { text } = await this.#rpc(node, "/prpc/Tproxy.List");
    const { hosts } = JSON.parse(text) as { hosts: { id: string; ip: string }[] };
    return Object.fromEntries(hosts.map(({ id, ip }) => [id, ip]));
  }

  /** The guests that a node would find again after its interface was killed, too: their WireGuard keys. */
  async endpoints({ site }: ClusterNode): Promise<string[]> {
    const text = await readFile(join(site.dir, "state", "endpoints.json"), "utf8").catch(() => "{}");
    return Object.keys(JSON.parse(text) as object);
  }

  #rpc({ machine }: ClusterNode, path: string): Promise<ClientAnswer> {
    return this.#request({ host: machine.ip, port: RPC_PORT, name: "", path });
  }

  /** Every record of the store, as etcd has it. */
  async records(): Promise<Map<string, string>> {
    const machine = this.etcd[0];
    const range = { key: "Lw==", range_end: "MA==" }; // from "/" to "0"
    const text = await machine?.namespace.run(
      ...["curl", "-sS", "-d", JSON.stringify(range), `http://${machine.ip}:2379/v3/kv/range`],
    );
    const decode = (base64: string | undefined): string => Buffer.from(base64 ?? "", "base64").toString();
    const { kvs } = JSON.parse(text ?? "{}") as { kvs?: { key: string; value?: string }[] };
    return new Map(kvs?.map(({ key, value }) => [decode(key).replace("/dstack/tproxy/", ""), decode(value)]));
  }

  #nodeAt(n: number): ClusterNode {
    const node = this.nodes[n];
    if (node === undefined) throw new Error(`no node ${n}`);
    return node;
  }

  #node(program: string, ...args: string[]): string[] {
    return [process.execPath, join(this.dir, `${program}.mjs`), ...args];
  }

  #run(name: string, { namespace }: Machine, command: readonly string[]): Program {
    const [file, args] = namespace.enter(...command);
    const program = new Program(spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] }));
    this.#programs.set(name, program);
    return program;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#programs.values()].map((program) => program.kill()));
    await killLeftovers();
    await this.lan[Symbol.asyncDispose]();
    for (const { site } of this.nodes) await site[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true });
  }
}
