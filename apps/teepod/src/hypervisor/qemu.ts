import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode, errorMessage, sleep, withDeadline } from "@dstack/core";
import { findProcesses, hostBootId, identifyProcess, isAlive, signalProcess } from "@dstack/daemon";
import type { Logger, ProcessIdentity } from "@dstack/daemon";
import { z } from "zod";
import { HypervisorError } from "./errors.js";
import type { Hypervisor, RunningVm, VmLaunch, VmPlace } from "./hypervisor.js";
import { VM_FILES, qemuArgs } from "./qemu-args.js";
import type { Acceleration } from "./qemu-args.js";
import { KILL_LIMIT_MS, QemuProcess } from "./qemu-process.js";
import { lastQemuLine } from "./qemu-words.js";

/** From starting the process to its monitor answering; the guest has not run an instruction by then. */
const START_LIMIT_MS = 30_000;
/** A running VM's monitor answers at once, or something is wrong with it. */
const ATTACH_LIMIT_MS = 3_000;

/** Which process is the VM. Beside QEMU's own pid file because a pid alone is reused. */
const PROCESS_FILE = "process.json";

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
  readonly qgsPort: number;
  readonly log: Logger;
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
    for (const name of [VM_FILES.qmp, VM_FILES.console, VM_FILES.pid, PROCESS_FILE, VM_FILES.qemuLog]) {
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
      await running.connect(ATTACH_LIMIT_MS);
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
      qgsPort,
    });
  }

  async #spawn(vm: VmLaunch): Promise<QemuProcess> {
    const { qemu, log } = this.options;
    const output = openSync(join(vm.dir, VM_FILES.qemuLog), "a", 0o600);
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
