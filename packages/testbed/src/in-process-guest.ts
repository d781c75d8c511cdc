import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, fromHex, writeFileAtomic } from "@dstack/core";
import { ResourceStack, loadConfig, silentLogger } from "@dstack/daemon";
import { TappdConfig, startTappd } from "@dstack/tappd";
import type { ContainerEngine } from "@dstack/tappd";
import { SimulatedPlatform, createSimulatedProvider } from "@dstack/tdx-attest";
import type { LaunchMeasurements, QuoteProvider } from "@dstack/tdx-attest";
import { readShare } from "@dstack/tdxctl";
import type {
  ComposeProject,
  GuestPaths,
  GuestSystem,
  ProgressLine,
  RawShare,
  TappdListeners,
} from "@dstack/tdxctl";
import type { WireGuardDevice } from "@dstack/wireguard-tools-wrapper";
import { startFakeApp } from "./fake-app.js";
import { FakeDisk } from "./fake-disk.js";
import type { FakeNetwork } from "./fake-network.js";

/** Ports of a CVM that the outside uses: the app's, and tappd's. */
const APP_PORT = 80;
const TAPPD_PORT = 8090;

export interface GuestOptions {
  /** The VM's directory: `shared/`, `status/`, `hda.img`. */
  vmDir: string;
  /** The command line teepod handed to the hypervisor. */
  cmdline: string;
  network: FakeNetwork;
  /** Where a test plays a hostile guest or host: replaces the provider the boot would use. */
  provider?: (provider: QuoteProvider) => QuoteProvider;
}

/** FAKE. The machine around `tdxctl boot`, without a machine: the boot itself, and tappd, are the real ones. */
export class InProcessGuest implements GuestSystem, AsyncDisposable {
  readonly paths: GuestPaths;
  readonly tappd: TappdListeners = { host: "127.0.0.1", port: 0, tlsPort: 0 };
  readonly dataDisk: FakeDisk;
  /** What was measured and done, for assertions. */
  readonly firewall: string[] = [];
  environment: Readonly<Record<string, string>> = {};
  provider: QuoteProvider | undefined;

  readonly #stack = new ResourceStack();
  readonly #ports = new Map<number, number>();

  constructor(private readonly options: GuestOptions) {
    const run = join(options.vmDir, "fake-run");
    this.paths = {
      run,
      eventLog: join(run, "events", "runtime_events.log"),
      sockets: { tappd: join(run, "tappd.sock"), dstack: join(run, "dstack.sock") },
      scopedSockets: join(run, "tappd"),
      dockerSocket: join(run, "docker.sock"),
    };
    this.dataDisk = new FakeDisk(options.vmDir);
  }

  async prepare(): Promise<void> {
    await mkdir(this.paths.run, { recursive: true, mode: 0o700 });
    await mkdir(join(this.paths.run, "events"), { recursive: true, mode: 0o700 });
  }

  async commandLine(): Promise<string> {
    return this.options.cmdline;
  }

  readShare(): Promise<RawShare> {
    return readShare(join(this.options.vmDir, "shared"));
  }

  async openQuoteProvider(simulator: Uint8Array | undefined): Promise<QuoteProvider> {
    if (simulator === undefined) throw new Error("no TDX device, and the host brought no simulated platform");
    const { seed, launch } = JSON.parse(new TextDecoder().decode(simulator)) as {
      seed: string;
      launch: LaunchMeasurements;
    };
    const provider = createSimulatedProvider({
      platform: SimulatedPlatform.fromSeed(fromHex(seed, "seed", 32)),
      launch,
    });
    this.provider = this.options.provider?.(provider) ?? provider;
    return this.provider;
  }

  async waitForNetwork(): Promise<void> {}

  async openWireGuard(): Promise<WireGuardDevice> {
    return this.#stack.use(this.options.network.open("wg0", this.#ports));
  }

  async watchTunnel(): Promise<void> {}

  async isDevelopmentImage(): Promise<boolean> {
    return false;
  }

  async applyFirewall(rules: string): Promise<void> {
    this.firewall.push(rules);
  }

  async writeRunFile(name: string, content: string | Uint8Array): Promise<string> {
    const path = join(this.paths.run, name);
    await writeFile(path, content, { mode: 0o600 });
    return path;
  }

  async startDocker(): Promise<void> {}

  async startTappd(configFile: string): Promise<void> {
    const config = await loadConfig(TappdConfig, { path: configFile });
    if (this.provider === undefined) throw new Error("no quote provider yet");
    const tappd = this.#stack.use(
      await startTappd(config, { provider: this.provider, log: silentLogger(), docker: NO_CONTAINERS }),
    );
    this.#ports.set(TAPPD_PORT, tappd.external.port);
  }

  async composeUp(project: ComposeProject): Promise<void> {
    this.environment = project.environment;
    const app = this.#stack.use(await startFakeApp(project.name, this.paths.sockets.tappd));
    this.#ports.set(APP_PORT, app.port);
  }

  async writeInstanceInfo(text: string): Promise<void> {
    await writeFileAtomic(join(this.options.vmDir, "status", ".instance_info"), text);
  }

  async report(line: ProgressLine): Promise<void> {
    await appendFile(join(this.options.vmDir, "status", "progress.jsonl"), `${JSON.stringify(line)}\n`);
    await this.console(`${line.step}: ${line.state}${line.message === undefined ? "" : ` ${line.message}`}`);
  }

  /** A line on the serial console. */
  async console(text: string): Promise<void> {
    await appendFile(join(this.options.vmDir, "serial.log"), `${text}\r\n`).catch((err: unknown) => {
      throw new Error(`writing the console: ${errorMessage(err)}`);
    });
  }

  /** The runtime event log as the guest keeps it. */
  async eventLog(): Promise<string> {
    return readFile(this.paths.eventLog, "utf8");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack[Symbol.asyncDispose]();
  }
}

const NO_CONTAINERS: ContainerEngine = {
  listContainers: async () => [],
  imageDigests: async () => new Map(),
  openLog: async () => {
    throw new Error("there are no containers here");
  },
};
