import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { errorMessage } from "@dstack/core";
import type { Logger } from "./logger.js";

const NOTIFY_LIMIT_MS = 5_000;
const run = promisify(execFile);

/**
 * Tells systemd how this service is: the protocol of sd_notify(3), spoken by systemd-notify(1), because Node has no
 * datagram sockets in the file system. Does nothing where the environment names no service manager.
 */
export class ServiceManager {
  readonly #socket: string | undefined;
  /** Half of what systemd waits; undefined when it waits for nothing (sd_watchdog_enabled(3)). */
  readonly #beatMs: number | undefined;
  #beat: NodeJS.Timeout | undefined;

  /** Takes the variables out of the environment: no child may speak for us by accident. */
  constructor(
    readonly log: Logger,
    env: NodeJS.ProcessEnv = process.env,
    pid: number = process.pid,
  ) {
    const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = env;
    for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[name];
    this.#socket = NOTIFY_SOCKET;
    const ours = WATCHDOG_PID === undefined || WATCHDOG_PID === String(pid);
    const usec = Number(WATCHDOG_USEC);
    this.#beatMs = ours && usec > 0 ? usec / 2_000 : undefined;
  }

  /** Says that the service is up, and from then on that its event loop turns. */
  async ready(): Promise<void> {
    await this.#tell("READY=1");
    if (this.#beatMs === undefined) return;
    this.#beat = setInterval(() => void this.#tell("WATCHDOG=1"), this.#beatMs).unref();
  }

  /** Says that it is going down, which systemd does not take for a failure. */
  async stopping(): Promise<void> {
    clearInterval(this.#beat);
    await this.#tell("STOPPING=1");
  }

  /** A message that is lost is told in the log; systemd's own limits decide what follows. */
  async #tell(state: string): Promise<void> {
    if (this.#socket === undefined) return;
    const env = { ...process.env, NOTIFY_SOCKET: this.#socket };
    await run("systemd-notify", [state], { env, timeout: NOTIFY_LIMIT_MS }).catch((err: unknown) => {
      this.log.warn({ reason: errorMessage(err), state }, "systemd was not told");
    });
  }
}
