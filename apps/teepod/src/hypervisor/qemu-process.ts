import type { ChildProcess } from "node:child_process";
import { statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { errorCode, errorMessage, sleep, withDeadline } from "@dstack/core";
import { isAlive, signalProcess } from "@dstack/daemon";
import type { Logger, ProcessIdentity } from "@dstack/daemon";
import { deletedBytes } from "./deleted-files.js";
import { HypervisorError } from "./errors.js";
import type { RunningVm, VmExit, VmPause, VmPlace } from "./hypervisor.js";
import { VM_FILES } from "./qemu-args.js";
import { describePause, describeShutdown, lastQemuLine } from "./qemu-words.js";
import { QmpClient } from "./qmp.js";
import type { QmpEvent } from "./qmp.js";

/** How long an obedient QEMU may take to quit before it is killed. */
const QUIT_LIMIT_MS = 3_000;
/** A killed process is gone when its memory is given back; big VMs take a moment. */
export const KILL_LIMIT_MS = 20_000;
/** How often a VM that is not our child is looked at. */
const WATCH_EVERY_MS = 500;
/** How often, and above which size, what QEMU printed is thrown away. */
const TIDY_EVERY_MS = 5_000;
const MAX_QEMU_LOG_BYTES = 1024 * 1024;

/** Events after which the virtual processors may run that did not, or the other way round. */
const RUN_STATE_EVENTS: ReadonlySet<string> = new Set(["STOP", "RESUME", "SUSPEND", "WAKEUP"]);

/** A QEMU process, ours or one an earlier teepod started. */
export class QemuProcess implements RunningVm {
  readonly ended: Promise<VmExit>;
  readonly #stopWatching = new AbortController();
  #qmp: QmpClient | undefined;
  #reason: string | undefined;
  #pause: VmPause | undefined;
  #wake: () => void = () => {};
  readonly #tidying: NodeJS.Timeout;

  constructor(
    readonly place: VmPlace,
    readonly identity: ProcessIdentity,
    readonly startedAt: Date,
    readonly log: Logger,
    child?: ChildProcess,
  ) {
    this.ended = child === undefined ? this.#watch() : this.#watchChild(child);
    this.#tidying = setInterval(() => this.#tidy(), TIDY_EVERY_MS).unref();
  }

  /** Connects the monitor. Waits for it while the process lives. */
  async connect(limitMs: number): Promise<void> {
    await withDeadline("QEMU's start", limitMs, async (signal) => {
      for (;;) {
        try {
          const qmp = await QmpClient.connect(this.place.dir, VM_FILES.qmp, (event) => this.#onEvent(event));
          this.#qmp = qmp;
          void qmp.closed.then(() => {
            if (this.#qmp === qmp) this.#qmp = undefined;
            this.#wake();
          });
          // It may have stopped before anybody listened.
          await this.#look();
          return;
        } catch (err) {
          const code = errorCode(err);
          if (code !== "ENOENT" && code !== "ECONNREFUSED") throw err;
          if (!isAlive(this.identity))
            throw new HypervisorError("not_started", "QEMU has ended", {}, { cause: err });
        }
        await sleep(20, signal);
      }
    });
  }

  async powerDown(): Promise<void> {
    if (this.#qmp === undefined) {
      throw new HypervisorError(
        "not_reachable",
        "the VM's monitor does not answer, so it cannot be asked to shut down",
      );
    }
    await this.#qmp.execute("system_powerdown");
  }

  async kill(): Promise<void> {
    if (this.#qmp !== undefined) {
      try {
        await withDeadline("quitting QEMU", QUIT_LIMIT_MS, async () => {
          await this.#qmp?.execute("quit");
          await this.ended;
        });
        return;
      } catch (err) {
        this.log.warn({ vm: this.place.id, reason: errorMessage(err) }, "QEMU does not quit, killing it");
      }
    }
    signalProcess(this.identity, "SIGKILL");
    this.#wake();
    try {
      await withDeadline("killing QEMU", KILL_LIMIT_MS, () => this.ended);
    } catch (err) {
      throw new HypervisorError(
        "not_ended",
        `QEMU process ${this.identity.pid} cannot be ended`,
        {},
        { cause: err },
      );
    }
  }

  detach(): void {
    clearInterval(this.#tidying);
    this.#stopWatching.abort();
    this.#qmp?.close();
  }

  get pause(): VmPause | undefined {
    return this.#pause;
  }

  async resume(): Promise<void> {
    await this.#qmp?.execute("cont");
  }

  async deletedBytes(dir: string): Promise<number> {
    return isAlive(this.identity) ? deletedBytes(this.identity.pid, dir) : 0;
  }

  #onEvent({ event, data }: QmpEvent): void {
    if (event === "SHUTDOWN") this.#reason = describeShutdown(data["reason"]);
    else if (RUN_STATE_EVENTS.has(event)) void this.#look();
  }

  /** Asks QEMU whether the VM's processors run. One that can never go on must not look as if it ran: it is ended. */
  async #look(): Promise<void> {
    try {
      const answer = (await this.#qmp?.execute("query-status")) as { status?: unknown } | undefined;
      if (answer === undefined) return;
      if (answer.status === "internal-error") {
        this.#reason = "the accelerator failed (KVM internal error)";
        await this.kill();
        return;
      }
      const pause = describePause(answer.status);
      if (pause?.sentence === this.#pause?.sentence) return;
      this.#pause = pause;
      const vm = this.place.id;
      if (pause === undefined) this.log.info({ vm }, "the VM goes on");
      else this.log.error({ vm, reason: pause.sentence }, "the VM stands still");
    } catch (err) {
      this.log.warn({ vm: this.place.id, reason: errorMessage(err) }, "cannot ask QEMU whether the VM runs");
    }
  }

  /** A guest can make QEMU complain as often as it likes; the file is open for appending, so it can be emptied. */
  #tidy(): void {
    const path = join(this.place.dir, VM_FILES.qemuLog);
    try {
      if (statSync(path).size > MAX_QEMU_LOG_BYTES) truncateSync(path);
    } catch (err) {
      if (errorCode(err) !== "ENOENT") throw err;
    }
  }

  #exit(code: number | null): VmExit {
    clearInterval(this.#tidying);
    const reason = this.#reason ?? lastQemuLine(this.place.dir);
    this.#qmp?.close();
    return reason === undefined ? { code } : { code, reason };
  }

  async #watchChild(child: ChildProcess): Promise<VmExit> {
    const code = await new Promise<number | null>((resolve) =>
      child.once("exit", (status) => resolve(status)),
    );
    return this.#exit(code);
  }

  async #watch(): Promise<VmExit> {
    const stopped = this.#stopWatching.signal;
    while (isAlive(this.identity)) {
      const pause = new AbortController();
      this.#wake = () => pause.abort();
      await sleep(WATCH_EVERY_MS, AbortSignal.any([stopped, pause.signal])).catch(() => {});
      // Detached: somebody else's business from now on, so this promise never settles.
      if (stopped.aborted) return await new Promise<never>(() => {});
      // Woken by the closing monitor: the process is about to end, give it the moment.
      if (pause.signal.aborted) await sleep(20);
    }
    return this.#exit(null);
  }
}
