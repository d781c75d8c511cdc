import { InputError, errorCode, errorMessage, readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";

/** A background process of ours: the `ProcessIdentity` of `@dstack/daemon`, which outlives a reused pid and a reboot. */
const DaemonRecord = z.strictObject({
  pid: z.int().positive(),
  startTicks: z.int().nonnegative(),
  bootId: z.string(),
});

export const DAEMON_NAMES = ["pcs", "kms", "tproxy", "registry", "teepod"] as const;
export type DaemonName = (typeof DAEMON_NAMES)[number];

const Ports = z.strictObject({
  pcs: z.int(),
  kms: z.int(),
  tproxy: z.int(),
  tproxyAdmin: z.int(),
  proxy: z.int(),
  wireguard: z.int(),
  registry: z.int(),
  teepod: z.int(),
});
export type Ports = z.infer<typeof Ports>;

const State = z.strictObject({
  version: z.literal(1),
  ports: Ports.optional(),
  wireguardInterface: z.string().optional(),
  /** Name of the guest image, and SHA-256 of its `sha256sum.txt`: the same name may hold another build. */
  image: z.string().optional(),
  imageDigest: z.string().optional(),
  /** VM of the example app. */
  exampleVm: z.string().optional(),
  daemons: z.partialRecord(z.enum(DAEMON_NAMES), DaemonRecord).default({}),
});
export type State = z.infer<typeof State>;

/** The directory that holds a local installation, and what is known about it. */
export class Home {
  private constructor(
    readonly dir: string,
    public state: State,
  ) {}

  /** `--home`, else `DSTACK_HOME`, else `~/.dstack`. */
  static locate(option?: string): string {
    return resolve(option ?? process.env["DSTACK_HOME"] ?? join(homedir(), ".dstack"));
  }

  /** Opens the installation, making an empty one where there is none. */
  static async open(dir: string): Promise<Home> {
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 });
    } catch (err) {
      throw new InputError(`cannot make the directory ${dir}: ${errorMessage(err)}`, { cause: err });
    }
    return (await Home.openIfAny(dir)) ?? new Home(dir, { version: 1, daemons: {} });
  }

  /** @throws {InputError} when the state file is not ours or damaged */
  static async openIfAny(dir: string): Promise<Home | undefined> {
    let bytes: Uint8Array | undefined;
    try {
      bytes = await readRegularFileIfAny(join(dir, "state.json"), 64 * 1024);
    } catch (err) {
      if (errorCode(err) === "ENOTDIR") throw new InputError(`${dir} is not a directory`);
      if (errorCode(err) === "EACCES")
        throw new InputError(`${dir} is another user's: run this with sudo and --home ${dir}`);
      throw err;
    }
    if (bytes === undefined) return undefined;
    let parsed: unknown;
    try {
      parsed = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      throw new InputError(`${dir}/state.json is not JSON; move it away and run \`dstack up\` again`);
    }
    const state = State.safeParse(parsed);
    if (!state.success) {
      throw new InputError(
        `${dir}/state.json is damaged or of another version of dstack; end what runs with that version's \`dstack down\`, ` +
          `or move the file away:\n${z.prettifyError(state.error)}`,
      );
    }
    return new Home(dir, state.data);
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Changes the state and writes it before returning. */
  async update(change: Partial<State>): Promise<void> {
    this.state = { ...this.state, ...change };
    await writeFileAtomic(this.path("state.json"), `${JSON.stringify(this.state, null, 2)}\n`, {
      mode: 0o600,
    });
  }

  /** @throws {InputError} before the first `dstack up` */
  get ports(): Ports {
    if (this.state.ports === undefined)
      throw new InputError("nothing is set up here yet: run `dstack up` first");
    return this.state.ports;
  }
}

/** Host names under `.localhost` resolve to this machine without any set-up (RFC 6761 §6.3). */
export const BASE_DOMAIN = "app.localhost";
