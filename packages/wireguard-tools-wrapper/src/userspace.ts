import { readFile, readdir, readlink, rm } from "node:fs/promises";
import { connect } from "node:net";
import { basename } from "node:path";
import { sleep } from "@dstack/core";
import { WireGuardError } from "./errors.js";
import type { InterfaceName } from "./interface-name.js";
import type { Runner } from "./runner.js";

/** Where wireguard-go listens for `wg`; one directory for every network namespace of the machine. */
const CONTROL_SOCKET_DIRECTORY = "/var/run/wireguard";
/** Starting and ending take a few hundred milliseconds on a busy machine. */
const PROCESS_TIME_LIMIT_MS = 10_000;
const POLL_MS = 50;

export function controlSocketPath(name: InterfaceName): string {
  return `${CONTROL_SOCKET_DIRECTORY}/${name}.sock`;
}

/** Whether some process answers on the control socket of that name. A file alone may be what a killed one left. */
export function controlSocketAnswers(name: InterfaceName): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(controlSocketPath(name));
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** The wireguard-go that runs this interface in our own network namespace, whoever started it. */
export async function findUserspaceProcess(name: InterfaceName): Promise<number | undefined> {
  const ours = await readlink("/proc/self/ns/net");
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    // Processes come and go while we look, and some are not ours to look at.
    const namespace = await readlink(`/proc/${entry}/ns/net`).catch(() => undefined);
    if (namespace === ours && (await runsInterface(Number(entry), name))) return Number(entry);
  }
  return undefined;
}

/** Whether this process is the wireguard-go of that interface: a process id alone may have been given out again. */
export async function runsInterface(pid: number, name: InterfaceName): Promise<boolean> {
  const argv = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
  return basename(argv[0] ?? "") === "wireguard-go" && argv.includes(name);
}

/**
 * Starts wireguard-go as a daemon of its own, so that the tunnel outlives a killed control program.
 * @returns its process id, when its control socket answers
 * @throws {WireGuardError} `name_taken`, `command_failed`
 */
export async function startUserspace(run: Runner, name: InterfaceName): Promise<number> {
  if (await controlSocketAnswers(name)) {
    // wg(8) finds interfaces by this path alone: it would talk to the other tunnel.
    throw new WireGuardError(
      "name_taken",
      `starting wireguard-go: ${controlSocketPath(name)} belongs to a tunnel in another network namespace`,
    );
  }
  await run("wireguard-go", [name], { leavesDaemon: true });
  const deadline = Date.now() + PROCESS_TIME_LIMIT_MS;
  for (;;) {
    const pid = await findUserspaceProcess(name);
    if (pid !== undefined && (await controlSocketAnswers(name))) return pid;
    if (Date.now() > deadline) {
      throw new WireGuardError("command_failed", `starting wireguard-go: no control socket for ${name}`);
    }
    await sleep(POLL_MS);
  }
}

/** Ends it, with its interface and its socket; kills it when it does not go by itself. */
export async function stopUserspace(pid: number, name: InterfaceName): Promise<void> {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const deadline = Date.now() + PROCESS_TIME_LIMIT_MS;
    if (await runsInterface(pid, name)) process.kill(pid, signal);
    while (await runsInterface(pid, name)) {
      if (Date.now() > deadline) break;
      await sleep(POLL_MS);
    }
  }
  if (await runsInterface(pid, name)) {
    throw new WireGuardError("command_failed", `ending wireguard-go: process ${pid} does not end`);
  }
  // A process that was killed leaves its socket file; one that answers belongs to somebody else.
  if (!(await controlSocketAnswers(name))) await rm(controlSocketPath(name), { force: true });
}
