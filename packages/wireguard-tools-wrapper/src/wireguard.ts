import { access, constants, writeFile } from "node:fs/promises";
import { isIPv6 } from "node:net";
import { Serial, errorMessage, sleep } from "@dstack/core";
import { checkCidr } from "./config-text.js";
import { parseDump } from "./dump.js";
import type { WireGuardStatus } from "./dump.js";
import { WireGuardError } from "./errors.js";
import { parseInterfaceName } from "./interface-name.js";
import type { InterfaceName } from "./interface-name.js";
import { readLink, staleAddresses } from "./ip.js";
import { runCommand } from "./runner.js";
import type { Runner } from "./runner.js";
import { findUserspaceProcess, runsInterface, startUserspace, stopUserspace } from "./userspace.js";

export type Backend = "kernel" | "userspace";

export interface WireGuardOptions {
  /** At most 15 characters, and unique on the machine: network namespaces share wireguard-go's control sockets. */
  readonly interfaceName: string;
  /** `auto`, the default: the kernel where it knows WireGuard, else wireguard-go. */
  readonly backend?: "auto" | Backend;
  /** Bytes; 1420 unless told, which fits into 1500 with IPv6 outside. */
  readonly mtu?: number;
  readonly runner?: Runner;
  /** Told when wireguard-go was found dead and has been started again, or could not be. */
  readonly onRestart?: (err: Error | undefined) => void;
}

/** What a program needs of a tunnel; a test may give another one. */
export interface WireGuardDevice {
  readonly interfaceName: string;
  setAddress(cidr: string): Promise<void>;
  addRoute(cidr: string): Promise<void>;
  syncconf(text: string): Promise<void>;
  dump(): Promise<WireGuardStatus>;
  /** Lets go of the interface and leaves it as it is, for a successor. */
  release(): Promise<void>;
}

const DEFAULT_MTU = 1420;
/** How often wireguard-go is looked for. */
const SUPERVISE_MS = 1_000;

/**
 * One WireGuard interface in our network namespace. It is made when it is missing and taken over, peers and sessions
 * included, when a predecessor left it; `close()` removes it in both cases.
 */
export class WireGuard implements WireGuardDevice, AsyncDisposable {
  readonly interfaceName: InterfaceName;
  readonly backend: Backend;
  /** Whether the interface was there before. */
  readonly takenOver: boolean;
  readonly #run: Runner;
  readonly #mtu: number;
  readonly #onRestart: (err: Error | undefined) => void;
  readonly #changes = new Serial();
  readonly #closing = new AbortController();
  readonly #supervision: Promise<void>;
  #pid: number | undefined;
  #address: string | undefined;
  readonly #routes = new Set<string>();
  #config: string | undefined;
  #noForwarding = false;
  #halfRevived = false;

  private constructor(made: Made, options: Required<Pick<WireGuardOptions, "runner" | "mtu" | "onRestart">>) {
    this.interfaceName = made.name;
    this.backend = made.backend;
    this.takenOver = made.takenOver;
    this.#pid = made.pid;
    this.#run = options.runner;
    this.#mtu = options.mtu;
    this.#onRestart = options.onRestart;
    this.#supervision = made.backend === "userspace" ? this.#supervise() : Promise.resolve();
  }

  /**
   * Makes the interface, or takes it over, and brings it up.
   * @throws {InputError} a bad interface name
   * @throws {WireGuardError} `unavailable`, `name_taken`, `command_failed`
   */
  static async open(options: WireGuardOptions): Promise<WireGuard> {
    const name = parseInterfaceName(options.interfaceName);
    const run = options.runner ?? runCommand;
    const mtu = options.mtu ?? DEFAULT_MTU;
    const made = (await takeOver(run, name)) ?? (await make(run, name, options.backend ?? "auto"));
    const wireguard = new WireGuard(made, { runner: run, mtu, onRestart: options.onRestart ?? (() => {}) });
    try {
      await wireguard.#bringUp();
    } catch (err) {
      if (!made.takenOver) await wireguard.close();
      else await wireguard.release();
      throw err;
    }
    return wireguard;
  }

  /**
   * Removes an interface that was released, with its wireguard-go.
   * @returns whether there was one
   * @throws {InputError} a bad interface name
   * @throws {WireGuardError} `name_taken`: it is no WireGuard interface; `command_failed`
   */
  static async remove(options: Pick<WireGuardOptions, "interfaceName" | "runner">): Promise<boolean> {
    const run = options.runner ?? runCommand;
    const left = await takeOver(run, parseInterfaceName(options.interfaceName));
    if (left === undefined) return false;
    await removeInterface(run, left.name, left.pid);
    return true;
  }

  /** Gives the interface this address and no other: `10.0.3.1/24`. */
  async setAddress(cidr: string): Promise<void> {
    checkCidr(cidr);
    await this.#changes.run(async () => {
      await this.#applyAddress(cidr);
      this.#address = cidr;
    });
  }

  /** Sends packets for these addresses into the tunnel. Peers' AllowedIPs decide which peer gets them. */
  async addRoute(cidr: string): Promise<void> {
    checkCidr(cidr);
    await this.#changes.run(async () => {
      await this.#applyRoute(cidr);
      this.#routes.add(cidr);
    });
  }

  /**
   * Packets that come out of the tunnel are for this machine only: the kernel forwards none of them, neither back into
   * the tunnel nor elsewhere, whatever the machine's own forwarding says.
   * @throws a system error where /proc/sys is read-only
   */
  async refuseForwarding(): Promise<void> {
    await this.#changes.run(async () => {
      await this.#applyNoForwarding();
      this.#noForwarding = true;
    });
  }

  /** Makes keys, port and peers those of the text (see `wgConfig`), without touching sessions that stay. */
  async syncconf(text: string): Promise<void> {
    await this.#changes.run(async () => {
      await this.#run("wg", ["syncconf", this.interfaceName, "/dev/stdin"], { input: text });
      this.#config = text;
    });
  }

  /** Listen port and peers with their last handshakes. */
  async dump(): Promise<WireGuardStatus> {
    return parseDump(await this.#run("wg", ["show", this.interfaceName, "dump"]));
  }

  /** Removes the interface and ends wireguard-go, with its socket. */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    await this.release();
    await removeInterface(this.#run, this.interfaceName, this.#pid);
  }

  /** Stops looking after the interface and leaves it as it is, for a successor to take over. */
  async release(): Promise<void> {
    this.#closing.abort();
    await this.#supervision;
    await this.#changes.run(async () => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #bringUp(): Promise<void> {
    await this.#run("ip", ["link", "set", "dev", this.interfaceName, "mtu", String(this.#mtu), "up"]);
  }

  async #applyAddress(cidr: string): Promise<void> {
    const link = await readLink(this.#run, this.interfaceName);
    await this.#run("ip", ["address", "replace", cidr, "dev", this.interfaceName]);
    for (const address of staleAddresses(link?.addresses ?? [], cidr)) {
      await this.#run("ip", ["address", "delete", address, "dev", this.interfaceName]);
    }
  }

  async #applyRoute(cidr: string): Promise<void> {
    await this.#run("ip", ["route", "replace", cidr, "dev", this.interfaceName]);
  }

  async #applyNoForwarding(): Promise<void> {
    const versions =
      this.#address !== undefined && isIPv6(this.#address.split("/")[0] ?? "") ? ["ipv6"] : ["ipv4"];
    for (const version of versions) {
      await writeFile(`/proc/sys/net/${version}/conf/${this.interfaceName}/forwarding`, "0", {
        flag: constants.O_WRONLY,
      });
    }
  }

  async #supervise(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await sleep(SUPERVISE_MS, signal).catch(() => {});
      if (signal.aborted || (this.#pid !== undefined && (await runsInterface(this.#pid, this.interfaceName))))
        continue;
      try {
        await this.#changes.run(() => this.#revive());
        this.#onRestart(undefined);
      } catch (err) {
        // Tried again in a second, for as long as we are open.
        this.#onRestart(
          new WireGuardError("command_failed", `restarting wireguard-go: ${errorMessage(err)}`),
        );
      }
    }
  }

  async #isWhole(): Promise<boolean> {
    return (
      !this.#halfRevived && this.#pid !== undefined && (await runsInterface(this.#pid, this.interfaceName))
    );
  }

  /** The kernel removed the interface with the process; everything is said again. */
  async #revive(): Promise<void> {
    this.#halfRevived = true;
    this.#pid =
      (await findUserspaceProcess(this.interfaceName)) ??
      (await startUserspace(this.#run, this.interfaceName));
    await this.#bringUp();
    if (this.#address !== undefined) await this.#applyAddress(this.#address);
    if (this.#noForwarding) await this.#applyNoForwarding();
    if (this.#config !== undefined) {
      await this.#run("wg", ["syncconf", this.interfaceName, "/dev/stdin"], { input: this.#config });
    }
    for (const route of this.#routes) await this.#applyRoute(route);
    this.#halfRevived = false;
  }
}

interface Made {
  readonly name: InterfaceName;
  readonly backend: Backend;
  readonly pid: number | undefined;
  readonly takenOver: boolean;
}

async function takeOver(run: Runner, name: InterfaceName): Promise<Made | undefined> {
  const link = await readLink(run, name);
  if (link === undefined) return undefined;
  if (link.kind === "wireguard") return { name, backend: "kernel", pid: undefined, takenOver: true };
  const pid = await findUserspaceProcess(name);
  if (pid !== undefined) return { name, backend: "userspace", pid, takenOver: true };
  // Whatever it is, it is not ours to change or to remove.
  throw new WireGuardError(
    "name_taken",
    `opening ${name}: an interface of that name is no WireGuard interface`,
    {
      kind: link.kind,
    },
  );
}

/** @param pid of its wireguard-go; undefined with the kernel's WireGuard */
async function removeInterface(run: Runner, name: InterfaceName, pid: number | undefined): Promise<void> {
  if (pid !== undefined) await stopUserspace(pid, name);
  else if ((await readLink(run, name)) !== undefined) await run("ip", ["link", "delete", "dev", name]);
}

async function make(run: Runner, name: InterfaceName, backend: "auto" | Backend): Promise<Made> {
  if (backend !== "userspace") {
    try {
      await run("ip", ["link", "add", "dev", name, "type", "wireguard"]);
      return { name, backend: "kernel", pid: undefined, takenOver: false };
    } catch (err) {
      if (backend === "kernel" || !isUnknownDeviceType(err)) throw err;
    }
  }
  const missing = await access("/dev/net/tun", constants.R_OK | constants.W_OK).then(
    () => false,
    () => true,
  );
  if (missing) {
    throw new WireGuardError(
      "unavailable",
      `making ${name}: the kernel has no WireGuard, and wireguard-go needs /dev/net/tun, which is not usable here`,
    );
  }
  return { name, backend: "userspace", pid: await startUserspace(run, name), takenOver: false };
}

function isUnknownDeviceType(err: unknown): boolean {
  return /unknown device type|not supported|operation not supported/i.test(errorMessage(err));
}
