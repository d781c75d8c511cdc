import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { errorCode, errorMessage, sleep, withDeadline } from "@dstack/core";
import { findProcesses, hostBootId, identifyProcess, isAlive, signalProcess } from "@dstack/daemon";
import type { Logger, ProcessIdentity } from "@dstack/daemon";
import { z } from "zod";
import { cleanLine } from "../vm/text.js";
import { HypervisorError } from "./errors.js";
import type { Hypervisor, RunningVm, VmExit, VmLaunch, VmPlace } from "./hypervisor.js";
import { QmpClient } from "./qmp.js";
import type { QmpEvent } from "./qmp.js";
import { VM_FILES, qemuArgs } from "./qemu-args.js";
import type { Acceleration } from "./qemu-args.js";

/** From starting the process to its monitor answering; the guest has not run an instruction by then. */
const START_LIMIT_MS = 30_000;
/** How long an obedient QEMU may take to quit before it is killed. */
const QUIT_LIMIT_MS = 3_000;
/** A killed process is gone when its memory is given back; big VMs take a moment. */
const KILL_LIMIT_MS = 20_000;
/** How often a VM that is not our child is looked at. */
const WATCH_EVERY_MS = 500;
/** How often, and above which size, what QEMU printed is thrown away. */
const TIDY_EVERY_MS = 5_000;
const MAX_QEMU_LOG_BYTES = 1024 * 1024;

/** Which process is the VM. Beside QEMU's own pid file because a pid alone is reused. */
const PROCESS_FILE = "process.json";
/** What QEMU itself prints. */
const QEMU_LOG = "qemu.log";

const ProcessRecord = z.object({
  pid: z.int().positive(),
  startTicks: z.int().nonnegative(),
  bootId: z.string(),
  startedAt: z.iso.datetime(),
});

export interface QemuOptions {
  /** Program name or path. */
  readonly qemu: string;
  readonly acceleration: Acceleration;
  /** vsock port of the host's quote generation service (TDX). */
  readonly qgsPort?: number;
  readonly log: Logger;
}

function describeShutdown(reason: unknown): string | undefined {
  switch (reason) {
    case "guest-shutdown":
      return "the guest shut down";
    case "guest-reset":
      return "the guest rebooted or its kernel panicked";
    case "guest-panic":
      return "the guest's kernel panicked";
    case "host-qmp-quit":
    case "host-signal":
      return "the host ended the VM";
    case "host-error":
      return "QEMU ended the VM after an error";
    default:
      return undefined;
  }
}

/** The last line QEMU itself printed, if it printed anything. */
function lastQemuLine(dir: string): string | undefined {
  try {
    const lines = readFileSync(join(dir, QEMU_LOG), "utf8").slice(-8192).split("\n");
    const line = lines.findLast((text) => text.trim() !== "" && !text.includes("warning:"));
    return line === undefined ? undefined : cleanLine(line, 300).replace(/^qemu-system-\S+: /, "");
  } catch (err) {
    if (errorCode(err) === "ENOENT") return undefined;
    throw err;
  }
}

/** A QEMU process, ours or one an earlier teepod started. */
class QemuProcess implements RunningVm {
  readonly ended: Promise<VmExit>;
  readonly #stopWatching = new AbortController();
  #qmp: QmpClient | undefined;
  #reason: string | undefined;
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
          await this.#onStop();
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

  #onEvent({ event, data }: QmpEvent): void {
    if (event === "SHUTDOWN") this.#reason = describeShutdown(data["reason"]);
    if (event === "STOP") void this.#onStop();
    if (event === "BLOCK_IO_ERROR" && data["nospace"] === true) {
      this.log.error({ vm: this.place.id }, "the host's disk is full: the VM waits until there is room");
    }
  }

  /** If QEMU has stopped the virtual CPUs by itself: a VM that can never go on must not look as if it ran. */
  async #onStop(): Promise<void> {
    try {
      const status = (await this.#qmp?.execute("query-status")) as { status?: unknown } | undefined;
      if (status?.status === "internal-error") {
        this.#reason = "the accelerator failed (KVM internal error)";
        await this.kill();
      }
    } catch (err) {
      this.log.warn(
        { vm: this.place.id, reason: errorMessage(err) },
        "cannot ask QEMU why it stopped the VM",
      );
    }
  }

  /** A guest can make QEMU complain as often as it likes; the file is open for appending, so it can be emptied. */
  #tidy(): void {
    const path = join(this.place.dir, QEMU_LOG);
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

/** Runs VMs as QEMU processes in sessions of their own, which outlive teepod. */
export class QemuHypervisor implements Hypervisor {
  readonly description: string;

  constructor(readonly options: QemuOptions) {
    this.description = `QEMU, ${options.acceleration}`;
  }

  async start(vm: VmLaunch): Promise<RunningVm> {
    const found = this.#find(vm);
    if (found?.recorded === true) throw new HypervisorError("running", "the VM already has a QEMU process");
    if (found !== undefined) await this.#endOrphan(vm, found.identity);
    for (const name of [VM_FILES.qmp, VM_FILES.console, VM_FILES.pid, PROCESS_FILE, QEMU_LOG]) {
      try {
        unlinkSync(join(vm.dir, name));
      } catch (err) {
        if (errorCode(err) !== "ENOENT") throw err;
      }
    }
    const running = await this.#spawn(vm);
    try {
      await running.connect(START_LIMIT_MS);
      return running;
    } catch (err) {
      signalProcess(running.identity, "SIGKILL");
      await running.ended;
      const why = lastQemuLine(vm.dir) ?? errorMessage(err);
      throw new HypervisorError("not_started", `QEMU did not start: ${why}`, {}, { cause: err });
    }
  }

  /**
   * A teepod killed in the moment between fork and exec leaves a process that its successor cannot recognise yet when
   * it looks for it, and that nobody was told of.
   */
  async #endOrphan(vm: VmPlace, orphan: ProcessIdentity): Promise<void> {
    this.options.log.warn({ vm: vm.id, pid: orphan.pid }, "ending a QEMU process that has no owner");
    signalProcess(orphan, "SIGKILL");
    await withDeadline("ending a QEMU process without an owner", KILL_LIMIT_MS, async (signal) => {
      while (isAlive(orphan)) await sleep(20, signal);
    });
  }

  async attach(vm: VmPlace): Promise<RunningVm | undefined> {
    const found = this.#find(vm);
    if (found === undefined) return undefined;
    const running = new QemuProcess(vm, found.identity, found.startedAt, this.options.log);
    try {
      await running.connect(QUIT_LIMIT_MS);
    } catch (err) {
      // It can still be watched and killed by its pid.
      this.options.log.warn({ vm: vm.id, reason: errorMessage(err) }, "the VM's monitor does not answer");
    }
    return running;
  }

  #args(vm: VmLaunch): string[] {
    const { acceleration, qgsPort } = this.options;
    const { image } = vm;
    return qemuArgs({
      id: vm.id,
      acceleration,
      vcpu: vm.vcpu,
      memoryMb: vm.memoryMb,
      kernel: image.kernel,
      initrd: image.initrd,
      rootfs: image.rootfs,
      ...(image.bios !== undefined && { bios: image.bios }),
      cmdline: image.cmdline,
      ports: vm.ports,
      portAddress: vm.portAddress,
      ...(acceleration !== "tcg" && existsSync("/dev/vhost-vsock") && { cid: vm.cid }),
      ...(qgsPort !== undefined && { qgsPort }),
    });
  }

  async #spawn(vm: VmLaunch): Promise<QemuProcess> {
    const { qemu, log } = this.options;
    const output = openSync(join(vm.dir, QEMU_LOG), "a", 0o600);
    try {
      // A session of its own: signals to teepod's process group do not reach the VM.
      const child = spawn(qemu, this.#args(vm), {
        cwd: vm.dir,
        detached: true,
        stdio: ["ignore", output, output],
        env: { PATH: process.env["PATH"] ?? "" },
      });
      const { pid } = child;
      if (pid === undefined) {
        const err = await new Promise<Error>((resolve) => child.once("error", resolve));
        throw new HypervisorError("not_started", `cannot run ${qemu}: ${err.message}`, {}, { cause: err });
      }
      child.unref();
      const startedAt = new Date();
      const identity = identifyProcess(pid) ?? { pid, startTicks: 0, bootId: hostBootId() };
      // Synchronously and at once: should teepod be killed before, the process is found by its arguments.
      const record = { ...identity, startedAt: startedAt.toISOString() };
      writeFileSync(join(vm.dir, PROCESS_FILE), JSON.stringify(record), { mode: 0o600 });
      return new QemuProcess(vm, identity, startedAt, log, child);
    } finally {
      closeSync(output);
    }
  }

  /** @returns `recorded`: whether the process stands in the VM's record, or was only recognised by its arguments */
  #find(vm: VmPlace): { identity: ProcessIdentity; startedAt: Date; recorded: boolean } | undefined {
    try {
      const record = ProcessRecord.parse(JSON.parse(readFileSync(join(vm.dir, PROCESS_FILE), "utf8")));
      if (isAlive(record)) return { identity: record, startedAt: new Date(record.startedAt), recorded: true };
      // The process that was started has ended, and only one is started at a time.
      return undefined;
    } catch {
      // teepod was killed between starting QEMU and writing the record, or in the middle of writing it
      const [identity] = findProcesses(`guest=${vm.id}`, vm.dir);
      return identity === undefined ? undefined : { identity, startedAt: new Date(), recorded: false };
    }
  }
}
