import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Certbot, type CertbotOptions } from "../../src/certbot.js";
import { Authority } from "../../src/dns/authority.js";
import { Rfc2136 } from "../../src/dns/rfc2136.js";
import type { Log } from "../../src/log.js";
import { type CaProxy, startCaProxy } from "./ca-proxy.js";
import { type Knot, startKnot } from "./knot.js";
import { type Pebble, startPebble } from "./pebble.js";

export const DAY_MS = 86_400_000;

export type MemoryLog = Log & { lines: string[] };

/** A log that a test can read. */
export function memoryLog(): MemoryLog {
  const lines: string[] = [];
  const write =
    (level: string) =>
    (fields: object, sentence: string): void =>
      void lines.push(`${level} ${sentence} ${JSON.stringify(fields)}`);
  return { lines, debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

/** Pebble validating against Knot, and work directories that go away. Pebble is reached through a proxy. */
export class World implements AsyncDisposable {
  readonly #dirs: string[] = [];
  private constructor(
    readonly knot: Knot,
    readonly pebble: Pebble,
    readonly ca: CaProxy,
  ) {}

  static async start(): Promise<World> {
    const knot = await startKnot();
    const pebble = await startPebble(knot.address);
    return new World(knot, pebble, await startCaProxy(pebble));
  }

  get dns(): Rfc2136 {
    return new Rfc2136({ host: "127.0.0.1", port: this.knot.port, key: this.knot.key });
  }

  /** @returns a new empty directory */
  async workDir(): Promise<string> {
    const dir = await mkdtemp(join(tmpdir(), "certbot-"));
    this.#dirs.push(dir);
    return dir;
  }

  /** Everything works unless the test changes a part. */
  async options(
    changes: Partial<CertbotOptions> & { log?: MemoryLog } = {},
  ): Promise<CertbotOptions & { log: MemoryLog }> {
    return {
      workDir: changes.workDir ?? (await this.workDir()),
      names: ["*.app.example.test", "app.example.test"],
      cas: [this.caOptions()],
      dns: this.dns,
      authority: new Authority({ servers: [this.knot.address] }),
      maxDnsWaitMs: 60_000,
      renewBeforeMs: 10 * DAY_MS,
      attemptMs: 150_000,
      setCaa: true,
      ...changes,
      log: changes.log ?? memoryLog(),
    };
  }

  caOptions(name = "pebble", directory = this.ca.directory): CertbotOptions["cas"][number] {
    return { name, directory, caaNames: [`${name}.test`], rootsPem: this.pebble.rootPem };
  }

  async certbot(changes: Partial<CertbotOptions> & { log?: MemoryLog } = {}): Promise<Certbot> {
    return Certbot.open(await this.options(changes));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const dir of this.#dirs) await rm(dir, { recursive: true, force: true });
    await this.ca[Symbol.asyncDispose]();
    await this.pebble[Symbol.asyncDispose]();
    await this.knot[Symbol.asyncDispose]();
  }
}
