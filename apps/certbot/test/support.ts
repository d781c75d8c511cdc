import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { type CaProxy, startCaProxy } from "../../../packages/acme/test/support/ca-proxy.js";
import { type ChallengeDns, startChallengeDns } from "../../../packages/acme/test/support/challtestsrv.js";
import {
  type CloudflareServer,
  startCloudflare,
} from "../../../packages/acme/test/support/cloudflare-server.js";
import { type Pebble, startPebble } from "../../../packages/acme/test/support/pebble.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** Pebble behind a proxy, its challenge DNS server, and a Cloudflare that feeds it. Certbot runs as a process of its own. */
export class CloudflareWorld implements AsyncDisposable {
  private constructor(
    readonly dir: string,
    readonly dns: ChallengeDns,
    readonly pebble: Pebble,
    readonly ca: CaProxy,
    readonly cloudflare: CloudflareServer,
  ) {}

  static async start(): Promise<CloudflareWorld> {
    const dir = await mkdtemp(join(tmpdir(), "certbot-app-"));
    const dns = await startChallengeDns();
    const pebble = await startPebble(dns.address);
    const cloudflare = await startCloudflare([{ id: "z1", name: "example.test" }], (name, rows) =>
      dns.setRecords(name, rows),
    );
    await writeFile(join(dir, "roots.pem"), pebble.rootPem);
    // The program as it is shipped; it also starts faster than its source.
    const program = join(dir, "certbot.mjs");
    await execa("node", ["scripts/bundle.mjs", "apps/certbot/src/main.ts", program], { cwd: root });
    return new CloudflareWorld(dir, dns, pebble, await startCaProxy(pebble), cloudflare);
  }

  /** @param top more keys, @param tables more tables, as TOML @returns the file */
  async configFile(workdir: string, top = "", tables = ""): Promise<string> {
    const path = join(this.dir, `${workdir}.toml`);
    const text = `
      workdir = "${join(this.dir, workdir)}"
      domain = "*.app.example.test"
      cf_api_token = "${this.cloudflare.token}"
      cf_api_url = "${this.cloudflare.url}"
      dns_servers = ["${this.dns.address}"]
      max_dns_wait = 60
      ${top}
      [[ca]]
      name = "pebble"
      url = "${this.ca.directory}"
      caa = ["pebble.test"]
      roots_file = "${join(this.dir, "roots.pem")}"
      ${tables}`;
    await writeFile(path, text);
    return path;
  }

  /** Runs the program. */
  run(args: readonly string[], env: Record<string, string> = {}) {
    return execa("node", [join(this.dir, "certbot.mjs"), ...args], { reject: false, env });
  }

  /** CAA values at the name, as Cloudflare has them. */
  caa(): string[] {
    return this.cloudflare.rows.filter(({ type }) => type === "CAA").map(({ content }) => content);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cloudflare[Symbol.asyncDispose]();
    await this.ca[Symbol.asyncDispose]();
    await this.pebble[Symbol.asyncDispose]();
    await this.dns[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true });
  }
}
