import { chmod, lstat, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { join } from "node:path";
import { errorMessage, sleep, writeFileAtomic } from "@dstack/core";
import { openQuoteProvider } from "@dstack/tdx-attest";
import type { QuoteProvider } from "@dstack/tdx-attest";
import { WireGuard } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardDevice } from "@dstack/wireguard-tools-wrapper";
import { DOCKER_ROOT } from "../docker.js";
import type {
  ComposeProject,
  GuestPaths,
  GuestSystem,
  OldContainers,
  ProgressLine,
} from "../guest-system.js";
import { readShare } from "../share.js";
import type { RawShare } from "../share.js";
import { WIREGUARD_INTERFACE } from "../tunnel/tunnel.js";
import { LuksDisk } from "./luks-disk.js";
import { disarmContainers } from "./old-containers.js";
import { appendProgress, consoleLine } from "./progress-log.js";
import { runCommand } from "./run-command.js";

const RUN = "/run/dstack";
const HOST_SHARE = join(RUN, "host-shared");
const HOST_STATUS = join(RUN, "host-status");
const SIMULATOR_PROGRAM = "/usr/lib/dstack/simulator.cjs";
const SIMULATOR_SOCKET = join(RUN, "simulator.sock");
/** Docker's compose plugin, which is a program of its own: the Docker client in front of it would only cost time. */
const COMPOSE_PROGRAM = "/usr/libexec/docker/cli-plugins/docker-compose";
const TDX_DEVICE = "/dev/tdx_guest";
/** How often something that another process makes is looked for. */
const POLL_MS = 50;

/** The guest as it is: systemd, 9p shares, cryptsetup, kernel WireGuard, Docker. */
export class LinuxSystem implements GuestSystem {
  readonly paths: GuestPaths = {
    run: RUN,
    eventLog: "/run/log/dstack/runtime_events.log",
    sockets: { tappd: "/var/run/tappd.sock", dstack: "/var/run/dstack.sock" },
    scopedSockets: "/var/run/tappd",
    dockerSocket: "/var/run/docker.sock",
  };
  readonly tappd = { host: "0.0.0.0", port: 8090, tlsPort: 8043 };
  readonly dataDisk = new LuksDisk({
    device: "/dev/vdb",
    mapping: "data",
    mountPoint: "/data",
    headerFile: join(RUN, "luks-header"),
  });
  #hasStatusShare = false;

  async prepare(signal: AbortSignal): Promise<void> {
    await mkdir(RUN, { recursive: true, mode: 0o700 });
    await chmod(RUN, 0o700);
    await this.#mountStatusShare(signal);
    // Loading it takes seconds, so it begins now, and waits for its configuration, which comes after system-ready.
    await runCommand("systemctl", ["--no-ask-password", "--no-block", "start", "tappd.service"], { signal });
    if (/^flags\s*:.*\btdx_guest\b/m.test(await readFile("/proc/cpuinfo", "utf8")))
      await this.#prepareTdx(signal);
  }

  async commandLine(): Promise<string> {
    return readFile("/proc/cmdline", "utf8");
  }

  async readShare(signal: AbortSignal): Promise<RawShare> {
    await mkdir(HOST_SHARE, { recursive: true });
    const options = "trans=virtio,version=9p2000.L,ro,nosuid,nodev,noexec,msize=131072";
    await runCommand("mount", ["-t", "9p", "-o", options, "host-shared", HOST_SHARE], { signal });
    try {
      const share = await readShare(HOST_SHARE);
      if (share.authorizedKeys !== undefined) await this.#authorize(share.authorizedKeys);
      return share;
    } finally {
      await runCommand("umount", [HOST_SHARE], { signal });
    }
  }

  async openQuoteProvider(simulator: Uint8Array | undefined, signal: AbortSignal): Promise<QuoteProvider> {
    if (simulator !== undefined && !(await exists(TDX_DEVICE)) && (await exists(SIMULATOR_PROGRAM))) {
      await this.writeRunFile("simulator.json", simulator);
      await runCommand("systemctl", ["--no-ask-password", "start", "dstack-simulator.service"], { signal });
      await untilExists(SIMULATOR_SOCKET, signal);
      // The seed forges any quote of this platform; only the service has use for it.
      await rm(join(RUN, "simulator.json"));
    }
    return openQuoteProvider({ simulatorSocket: SIMULATOR_SOCKET });
  }

  async waitForNetwork(signal: AbortSignal): Promise<void> {
    // Second column: destination, all zeros for the default route (proc_pid_net(5)).
    while (!/^\S+\t00000000\t/m.test(await readFile("/proc/net/route", "utf8"))) await sleep(POLL_MS, signal);
  }

  async openWireGuard(): Promise<WireGuardDevice> {
    return WireGuard.open({ interfaceName: WIREGUARD_INTERFACE, backend: "kernel" });
  }

  async watchTunnel(signal: AbortSignal): Promise<void> {
    await runCommand("systemctl", ["--no-ask-password", "--no-block", "start", "dstack-tunnel.service"], {
      signal,
    });
  }

  async isDevelopmentImage(): Promise<boolean> {
    // The root file system is measured, and so is this.
    return /^VARIANT_ID=dev$/m.test(await readFile("/usr/lib/os-release", "utf8"));
  }

  async applyFirewall(rules: string, signal: AbortSignal): Promise<void> {
    await runCommand("nft", ["-f", "-"], { signal, input: rules });
  }

  async writeRunFile(name: string, content: string | Uint8Array): Promise<string> {
    const path = join(RUN, name);
    await writeFileAtomic(path, content, { mode: 0o600 });
    return path;
  }

  async startDocker(daemonConfig: string, containers: OldContainers, signal: AbortSignal): Promise<void> {
    // A container that mounts a socket which is not there gets a directory instead.
    for (const socket of Object.values(this.paths.sockets)) await untilExists(socket, signal);
    await mkdir(DOCKER_ROOT, { recursive: true, mode: 0o710 });
    const old = containers === "remove" ? await disarmContainers(join(DOCKER_ROOT, "containers")) : 0;
    await mkdir("/etc/docker", { recursive: true });
    await writeFile("/etc/docker/daemon.json", daemonConfig);
    await runCommand("systemctl", ["--no-ask-password", "start", "docker.service"], { signal });
    if (old > 0) await runCommand("docker", ["container", "prune", "--force"], { signal });
  }

  async startTappd(_configFile: string, signal: AbortSignal): Promise<void> {
    // It has been waiting for this file. The connection waits in turn, on the socket that systemd holds.
    await untilAnswers(this.paths.sockets.tappd, signal);
  }

  async composeUp(project: ComposeProject, signal: AbortSignal): Promise<void> {
    const directory = join(RUN, "app");
    const clientConfig = join(directory, "docker-client");
    await mkdir(clientConfig, { recursive: true, mode: 0o700 });
    const composeFile = join(directory, "docker-compose.yaml");
    await writeFile(composeFile, project.composeFile, { mode: 0o600 });
    if (project.dockerConfig !== undefined) {
      await writeFile(join(clientConfig, "config.json"), project.dockerConfig, { mode: 0o600 });
    }
    await runCommand(
      COMPOSE_PROGRAM,
      [
        ...["--progress", "plain", "--project-name", project.name],
        ...["--project-directory", directory, "--file", composeFile],
        ...["up", "--detach", "--remove-orphans", "--quiet-pull"],
      ],
      {
        signal,
        environment: { ...project.environment, DOCKER_CONFIG: clientConfig },
        cwd: directory,
        echo: true,
      },
    );
  }

  async writeInstanceInfo(text: string): Promise<void> {
    await writeFileAtomic(join(HOST_STATUS, ".instance_info"), text);
  }

  async report(line: ProgressLine): Promise<void> {
    console.log(consoleLine(line));
    if (!this.#hasStatusShare) return;
    try {
      await appendProgress(join(HOST_STATUS, "progress.jsonl"), line);
    } catch (err) {
      console.log(`dstack: the host takes no progress: ${errorMessage(err)}`);
    }
  }

  async #mountStatusShare(signal: AbortSignal): Promise<void> {
    await mkdir(HOST_STATUS, { recursive: true });
    const options = "trans=virtio,version=9p2000.L,nosuid,nodev,noexec";
    try {
      await runCommand("mount", ["-t", "9p", "-o", options, "host-status", HOST_STATUS], { signal });
      this.#hasStatusShare = true;
    } catch (err) {
      console.log(`dstack: no status share: ${errorMessage(err)}`);
    }
  }

  async #prepareTdx(signal: AbortSignal): Promise<void> {
    await runCommand("modprobe", ["tdx_guest"], { signal });
    if (await exists("/sys/kernel/config/tsm")) return;
    await runCommand("mount", ["-t", "configfs", "configfs", "/sys/kernel/config"], { signal });
  }

  /** SSH keys, which only the development image has a server for. */
  async #authorize(keys: Uint8Array): Promise<void> {
    if (!(await this.isDevelopmentImage())) return;
    await mkdir("/root/.ssh", { recursive: true, mode: 0o700 });
    await writeFile("/root/.ssh/authorized_keys", keys, { mode: 0o600 });
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

async function untilExists(path: string, signal: AbortSignal): Promise<void> {
  while (!(await exists(path))) await sleep(POLL_MS, signal);
}

/** Settles when an HTTP server answers, whatever it says. */
function untilAnswers(socketPath: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    get({ socketPath, path: "/", agent: false, signal }, (response) => {
      response.resume();
      resolve();
    }).once("error", reject);
  });
}
