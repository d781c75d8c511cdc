import type { QuoteProvider } from "@dstack/tdx-attest";
import type { WireGuardDevice } from "@dstack/wireguard-tools-wrapper";
import type { RawShare } from "./share.js";

/** Where the boot keeps its files. All but `eventLog`'s directory exist before the first step. */
export interface GuestPaths {
  /** In memory only, 0700: keys, configuration, the app's compose file. */
  readonly run: string;
  /** Events of RTMR3, shared with tappd. */
  readonly eventLog: string;
  /** Sockets tappd offers to containers. */
  readonly sockets: { readonly tappd: string; readonly dstack: string };
  /** Directory of the sockets that the compose document scopes (G7), each in one of its own. */
  readonly scopedSockets: string;
  readonly dockerSocket: string;
}

/** Where tappd listens for the outside. */
export interface TappdListeners {
  readonly host: string;
  /** Plain HTTP, for the inside of the tunnel. */
  readonly port: number;
  readonly tlsPort: number;
}

/** One line of the log that the boot appends to the status share. */
export interface ProgressLine {
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly step: string;
  readonly state: "start" | "done" | "error" | "info";
  readonly message?: string;
}

/** The encrypted data disk. Sizes and offsets are bytes. */
export interface DataDisk {
  size(): Promise<number>;
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Writes a LUKS2 header for this key. The key travels on standard input (G4). */
  format(key: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Opens the disk by a copy of its header that has been checked, never by what stands on the disk by then (G2). */
  open(header: Uint8Array, key: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Makes an empty file system on the opened disk. */
  makeFileSystem(signal: AbortSignal): Promise<void>;
  /** Mounts it, and grows it when the disk has grown. */
  mount(signal: AbortSignal): Promise<void>;
  /** A small file at the top of the mounted file system. */
  readFile(name: string, maxBytes: number): Promise<Uint8Array | undefined>;
  writeFile(name: string, content: string): Promise<void>;
}

/** What the engine does with the containers an earlier boot has left. */
export type OldContainers = "keep" | "remove";

/** What `docker compose up` is started with. */
export interface ComposeProject {
  /** Names containers and networks: lower-case letters, digits and dashes. */
  readonly name: string;
  /** The docker-compose document. */
  readonly composeFile: string;
  /** The app's own variables. They go to the child's environment and nowhere else (G4). */
  readonly environment: Readonly<Record<string, string>>;
  /** `config.json` of the Docker client, with the registry's credentials, if the app has some. */
  readonly dockerConfig: string | undefined;
}

/**
 * Everything the boot does to its machine. {@link LinuxSystem} is the real one; the testbed's runs in a process.
 * Decisions are not made here: they are pure functions beside the steps.
 */
export interface GuestSystem {
  readonly paths: GuestPaths;
  readonly tappd: TappdListeners;
  /** File systems, kernel modules and directories the other steps stand on. */
  prepare(signal: AbortSignal): Promise<void>;
  /** The kernel's command line, which is measured. */
  commandLine(): Promise<string>;
  /** Reads the host's share once; it is gone when this returns (G1). */
  readShare(signal: AbortSignal): Promise<RawShare>;
  /**
   * The platform's quotes and registers. A share may bring a simulated platform; only images that contain the simulator
   * look at it, and never beside a real device.
   */
  openQuoteProvider(simulator: Uint8Array | undefined, signal: AbortSignal): Promise<QuoteProvider>;
  /** Settles when there is a route to the outside. */
  waitForNetwork(signal: AbortSignal): Promise<void>;
  readonly dataDisk: DataDisk;
  openWireGuard(): Promise<WireGuardDevice>;
  /** Has the tunnel looked after from now on: registered again when tproxy is not heard for too long. */
  watchTunnel(signal: AbortSignal): Promise<void>;
  /** Whether this is the development image, the only one that has an SSH server. */
  isDevelopmentImage(): Promise<boolean>;
  /** Replaces the guest's own nftables tables by this text. */
  applyFirewall(rules: string, signal: AbortSignal): Promise<void>;
  /** Writes a file below `paths.run`, mode 0600, and gives its path. */
  writeRunFile(name: string, content: string | Uint8Array): Promise<string>;
  /**
   * Settles when the engine answers and tappd's sockets are there to be mounted.
   * @param daemonConfig `daemon.json`
   * @param containers what becomes of those on the disk: `remove` takes them away before any of them runs
   */
  startDocker(daemonConfig: string, containers: OldContainers, signal: AbortSignal): Promise<void>;
  /**
   * @param configFile path of `tappd.toml`. Settles when tappd answers. Containers may be started meanwhile: who asks it
   * early waits.
   */
  startTappd(configFile: string, signal: AbortSignal): Promise<void>;
  /** Settles when every container of the app has been started. */
  composeUp(project: ComposeProject, signal: AbortSignal): Promise<void>;
  /** Replaces `.instance_info` on the status share. */
  writeInstanceInfo(text: string): Promise<void>;
  /** Tells the host and the console. Never throws: a host that does not listen must not stop the boot. */
  report(line: ProgressLine): Promise<void>;
}
