import { generateKeyPairSync } from "node:crypto";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { errorCode, writeFileAtomic } from "@dstack/core";
import { z } from "zod";

const Form = z.strictObject({
  directory: z.string(),
  names: z.array(z.string()),
  /** URL; missing until the CA has made the order. */
  order: z.string().optional(),
  /** TXT records that were, or were about to be, put into DNS. */
  challenges: z.array(z.strictObject({ recordName: z.string(), value: z.string() })),
});
type Facts = z.infer<typeof Form>;

/**
 * An order in progress, on disk before each step that leaves a trace elsewhere: its key before the CA may sign for
 * it (a certificate whose key we do not have looks like somebody else's to a CT monitor), challenges before they are
 * in DNS. So that a crash at any point is taken up again rather than started over.
 */
export class PendingOrder {
  private constructor(
    private readonly path: string,
    readonly keyPem: string,
    private facts: Facts,
  ) {}

  get names(): readonly string[] {
    return this.facts.names;
  }
  get directory(): string {
    return this.facts.directory;
  }
  get order(): string | undefined {
    return this.facts.order;
  }
  get challenges(): Facts["challenges"] {
    return this.facts.challenges;
  }

  /** @returns undefined when there is none, or none that can be read: its key has signed nothing we could still get */
  static async load(path: string): Promise<PendingOrder | undefined> {
    try {
      const facts = Form.parse(JSON.parse(await readFile(join(path, "order.json"), "utf8")));
      return new PendingOrder(path, await readFile(join(path, "key.pem"), "utf8"), facts);
    } catch (err) {
      const code = errorCode(err);
      if (code === undefined || code === "ENOENT") return undefined; // not JSON, not our form, or not there
      throw err;
    }
  }

  static async create(path: string, directory: string, names: readonly string[]): Promise<PendingOrder> {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const keyPem = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    await writeFileAtomic(join(path, "key.pem"), keyPem, { mode: 0o600 });
    const pending = new PendingOrder(path, keyPem, { directory, names: [...names], challenges: [] });
    await pending.#save();
    return pending;
  }

  async setOrder(url: string): Promise<void> {
    this.facts = { ...this.facts, order: url };
    await this.#save();
  }

  async setChallenges(challenges: Facts["challenges"]): Promise<void> {
    this.facts = { ...this.facts, challenges };
    await this.#save();
  }

  async discard(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  async #save(): Promise<void> {
    await writeFileAtomic(join(this.path, "order.json"), `${JSON.stringify(this.facts, null, 2)}\n`, {
      mode: 0o600,
    });
  }
}
