import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import type { Hypervisor, RunningVm, VmExit, VmLaunch, VmPause, VmPlace } from "../../src/index.js";
import { HypervisorError } from "../../src/hypervisor/errors.js";

/** A VM that is nothing but what a test makes of it. */
export class FakeVm implements RunningVm {
  readonly startedAt = new Date();
  readonly ended: Promise<VmExit>;
  powerButtonPressed = 0;
  killed = false;
  detached = false;
  pause: VmPause | undefined;
  resumed = 0;
  deleted = 0;
  #end: (exit: VmExit) => void = () => {};

  constructor(
    readonly launch: VmLaunch,
    readonly onEnd: () => void,
  ) {
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  end(exit: VmExit): void {
    this.onEnd();
    this.#end(exit);
  }

  async powerDown(): Promise<void> {
    this.powerButtonPressed++;
  }

  async kill(): Promise<void> {
    this.killed = true;
    this.end({ code: 0, reason: "the host ended the VM" });
  }

  detach(): void {
    this.detached = true;
  }

  async resume(): Promise<void> {
    this.resumed++;
    this.pause = undefined;
  }

  async deletedBytes(): Promise<number> {
    return this.deleted;
  }

  /** Writes to the console. */
  async print(text: string): Promise<void> {
    await appendFile(join(this.launch.dir, "serial.log"), text);
  }

  /** Writes a line of boot progress. */
  async progress(step: string, state: string, message?: string): Promise<void> {
    const line = JSON.stringify({ at: new Date().toISOString(), step, state, message });
    await appendFile(join(this.launch.dir, "status", "progress.jsonl"), `${line}\n`);
  }
}

/** A hypervisor in this process. Its VMs outlive the teepod that started them, as QEMU's do. */
export class FakeHypervisor implements Hypervisor {
  readonly description = "fake";
  readonly running = new Map<string, FakeVm>();
  readonly launches: VmLaunch[] = [];
  failNext: string | undefined;

  async start(launch: VmLaunch): Promise<RunningVm> {
    if (this.failNext !== undefined) {
      const why = this.failNext;
      this.failNext = undefined;
      throw new HypervisorError("not_started", why);
    }
    if (this.running.has(launch.id)) throw new Error("the VM runs already");
    const vm = new FakeVm(launch, () => this.running.delete(launch.id));
    this.launches.push(launch);
    this.running.set(launch.id, vm);
    return vm;
  }

  async attach(place: VmPlace): Promise<RunningVm | undefined> {
    return this.running.get(place.id);
  }

  /** The running VM of that id. */
  vm(id: string): FakeVm {
    const vm = this.running.get(id);
    if (vm === undefined) throw new Error("that VM does not run");
    return vm;
  }
}
