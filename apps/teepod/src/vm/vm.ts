import { join } from "node:path";
import { Serial, errorMessage } from "@dstack/core";
import type { VmId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { VM_FILES } from "../hypervisor/qemu-args.js";
import { explainFullDisk } from "./disk-space.js";
import type { Manifest } from "./manifest.js";
import { SerialLog } from "./serial-log.js";
import type { LogLimits } from "./serial-log.js";
import { nextState } from "./state.js";
import type { VmEvent, VmState } from "./state.js";
import type { VmStore } from "./vm-store.js";

/** What a VM writes to. */
export interface VmKeeping {
  readonly store: VmStore;
  readonly log: Logger;
  readonly logLimits: LogLimits;
}

/** One VM in memory, and its manifest and state on the disk. Both are changed only by tasks of its queue. */
export class Vm {
  /** Operations on this VM, one after the other. */
  readonly queue = new Serial();
  readonly serialLog: SerialLog;
  readonly dir: string;
  #manifest: Manifest;
  #state: VmState;

  constructor(
    manifest: Manifest,
    state: VmState,
    readonly keeping: VmKeeping,
  ) {
    this.#manifest = manifest;
    this.#state = state;
    this.dir = keeping.store.dir(manifest.id);
    this.serialLog = new SerialLog(this.dir, keeping.logLimits);
  }

  get manifest(): Manifest {
    return this.#manifest;
  }

  get state(): VmState {
    return this.#state;
  }

  get id(): VmId {
    return this.#manifest.id;
  }

  get statusDir(): string {
    return join(this.dir, VM_FILES.status);
  }

  get runs(): boolean {
    return this.#state.at === "running" || this.#state.at === "stopping";
  }

  /** @throws {VmError} wrong_state */
  async apply(event: VmEvent): Promise<void> {
    await this.enter(nextState(this.#state, event));
  }

  /** For what is found at start-up; afterwards states follow from events. */
  async enter(state: VmState): Promise<void> {
    this.#state = state;
    try {
      await this.keeping.store.saveState(this.id, state);
    } catch (err) {
      // A full disk. What runs is found again without the file; refusing to see the change would be worse.
      this.keeping.log.error({ vm: this.id, reason: errorMessage(err) }, "cannot write down the VM's state");
    }
  }

  /** The VM has the new manifest once the disk has it. */
  async changeManifest(changes: Partial<Omit<Manifest, "id">>): Promise<void> {
    const manifest = { ...this.#manifest, ...changes };
    await explainFullDisk(() => this.keeping.store.saveManifest(manifest));
    this.#manifest = manifest;
  }
}
