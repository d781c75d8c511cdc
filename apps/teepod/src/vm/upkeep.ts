import { errorMessage } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { Clock } from "../clock.js";
import type { RunningVm, VmExit } from "../hypervisor/hypervisor.js";
import { bootError } from "./boot-error.js";
import { hasDiskSpace } from "./disk-space.js";
import type { FreeSpace } from "./disk-space.js";
import { readProgress } from "./progress.js";
import { STATUS_SHARE_LIMITS, clearStatusShare, statusShareFits } from "./status-share.js";
import type { Vm } from "./vm.js";

/** How often a running VM's serial log, status share and processors are looked at. */
const WATCH_EVERY_MS = 1_000;
/** How much of the console a boot error is made from. */
const CONSOLE_TAIL_BYTES = 16 * 1024;

const SHARE_FULL =
  `the guest put more on its status share than the ${STATUS_SHARE_LIMITS.entries} files and ` +
  `${STATUS_SHARE_LIMITS.bytes / 2 ** 20} MB it may, so it was ended`;

export interface UpkeepParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly freeSpace: FreeSpace;
  /** Free bytes of the host's disk from which a VM that waits for room goes on. */
  readonly reserveBytes: number;
}

/**
 * Looks after VMs while they run: notes how they end, ends those that overstay, keeps what guests write within
 * bounds, and lets VMs go on that a full disk has stopped. Each VM by itself: one that is stuck holds up no other.
 */
export class Upkeep implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #tasks = new Set<Promise<void>>();

  constructor(readonly parts: UpkeepParts) {}

  /** teepod is going away: VMs run on, and nothing is noted any more. */
  get stopping(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Looks after a VM from now on, until it has ended. */
  follow(vm: Vm, running: RunningVm): void {
    const over = new AbortController();
    void running.ended.then(async (exit) => {
      over.abort();
      try {
        await vm.queue.run(() => this.noteEnd(vm, running, exit));
      } catch (err) {
        this.parts.log.error({ vm: vm.id, err }, "cannot note the end of a VM");
      }
    });
    this.#background(vm, "watching a VM", () => this.#watch(vm, running, over.signal));
    if (vm.state.at === "stopping") this.endAt(vm, running, vm.state.killAt);
  }

  /** Ends a VM that does not shut down in time. */
  endAt(vm: Vm, running: RunningVm, killAt: Date): void {
    const { clock, log } = this.parts;
    this.#background(vm, "ending a VM", async () => {
      const ms = Math.max(0, killAt.getTime() - clock.now().getTime());
      const limit = clock.sleep(ms, this.#stop.signal).then(() => "limit" as const);
      const first = await Promise.race([limit, running.ended.then(() => "ended" as const)]);
      limit.catch(() => {});
      if (first === "ended") return;
      await vm.queue.run(async () => {
        if (vm.state.at !== "stopping" || vm.state.vm !== running) return;
        log.warn({ vm: vm.id }, "the guest did not shut down in time; ending it");
        await running.kill();
        await this.noteEnd(vm, running, await running.ended);
      });
    });
  }

  /** Notes how a VM has ended, once. Only in the VM's queue. */
  async noteEnd(vm: Vm, running: RunningVm, exit: VmExit): Promise<void> {
    const { state } = vm;
    // Already noted by the operation that ended it, or no longer ours to note.
    if ((state.at !== "running" && state.at !== "stopping") || state.vm !== running) return;
    if (this.stopping) return;
    const error = state.at === "running" ? await this.bootError(vm, exit) : undefined;
    await vm.apply({
      type: "ended",
      end: {
        startedAt: running.startedAt,
        exitedAt: this.parts.clock.now(),
        code: exit.code,
        ...(exit.reason !== undefined && { reason: exit.reason }),
        ...(error !== undefined && { bootError: error }),
      },
    });
    this.parts.log.info({ vm: vm.id, code: exit.code, reason: exit.reason, bootError: error }, "VM ended");
  }

  /** Why a VM that has ended never became ready, if it did not. */
  async bootError(vm: Vm, exit: VmExit): Promise<string | undefined> {
    const progress = await readProgress(vm.statusDir);
    return bootError(progress, exit, await vm.serialLog.tail(CONSOLE_TAIL_BYTES));
  }

  async #watch(vm: Vm, running: RunningVm, over: AbortSignal): Promise<void> {
    const { clock, log } = this.parts;
    const signal = AbortSignal.any([this.#stop.signal, over]);
    while (!signal.aborted) {
      await clock.sleep(WATCH_EVERY_MS, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        await this.#look(vm, running);
      } catch (err) {
        log.error({ vm: vm.id, reason: errorMessage(err) }, "cannot watch a VM");
      }
    }
  }

  async #look(vm: Vm, running: RunningVm): Promise<void> {
    const { log, freeSpace, reserveBytes } = this.parts;
    if (!(await statusShareFits(vm.statusDir, await running.deletedBytes(vm.statusDir)))) {
      await this.#endForFullShare(vm, running);
      return;
    }
    if (running.pause?.cause === "disk_full" && (await hasDiskSpace(vm.dir, reserveBytes, freeSpace))) {
      log.info({ vm: vm.id }, "there is room on the host's disk again: the VM may go on");
      await running.resume();
    }
    await vm.queue.run(async () => {
      if (!vm.runs) return;
      await vm.serialLog.rotateIfLong();
      // A full disk: without the times the log is only given from its beginning.
      await vm.serialLog.note(this.parts.clock.now()).catch(() => {});
    });
  }

  async #endForFullShare(vm: Vm, running: RunningVm): Promise<void> {
    await vm.queue.run(async () => {
      const { state } = vm;
      if ((state.at !== "running" && state.at !== "stopping") || state.vm !== running) return;
      this.parts.log.error({ vm: vm.id, limits: STATUS_SHARE_LIMITS }, SHARE_FULL);
      await running.kill();
      const { code } = await running.ended;
      await this.noteEnd(vm, running, { code, reason: SHARE_FULL });
      // At once, and not at the next start: the disk is the other VMs' too.
      await clearStatusShare(vm.statusDir);
    });
  }

  #background(vm: Vm, what: string, work: () => Promise<void>): void {
    const task = work()
      .catch((err: unknown) => {
        if (!this.stopping) this.parts.log.error({ vm: vm.id, err }, `${what} failed`);
      })
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }

  /** Lets go of all VMs; they run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("teepod is stopping"));
    await Promise.all(this.#tasks);
  }
}
