import { join } from "node:path";
import { Serial } from "@dstack/core";
import type { VmId } from "@dstack/core";
import { VM_FILES } from "../hypervisor/qemu-args.js";
import type { Manifest } from "./manifest.js";
import { SerialLog } from "./serial-log.js";
import type { LogLimits } from "./serial-log.js";
import type { VmState } from "./state.js";

/** One VM in memory. Its manifest and state are changed only by tasks of its queue, after the disk has them. */
export class Vm {
  /** Operations on this VM, one after the other. */
  readonly queue = new Serial();
  readonly serialLog: SerialLog;

  constructor(
    public manifest: Manifest,
    public state: VmState,
    readonly dir: string,
    logLimits: LogLimits,
  ) {
    this.serialLog = new SerialLog(dir, logLimits);
  }

  get id(): VmId {
    return this.manifest.id;
  }

  get statusDir(): string {
    return join(this.dir, VM_FILES.status);
  }

  get runs(): boolean {
    return this.state.at === "running" || this.state.at === "stopping";
  }
}
