import type { VmId } from "@dstack/core";
import type { GuestImage } from "../images/image.js";
import type { PortMapping } from "../vm/ports.js";

/** Where a VM lives on this host. Everything a hypervisor keeps about it goes into `dir`. */
export interface VmPlace {
  readonly id: VmId;
  /** Absolute path of the VM's directory, see `VmFiles` for what is in it. */
  readonly dir: string;
}

/** Everything a hypervisor needs to start a VM. */
export interface VmLaunch extends VmPlace {
  readonly image: GuestImage;
  readonly vcpu: number;
  readonly memoryMb: number;
  readonly ports: readonly PortMapping[];
  /** Host address the forwarded ports listen on. */
  readonly portAddress: string;
  /** vsock context id set aside for this VM. */
  readonly cid: number;
}

/** How a VM ended. */
export interface VmExit {
  /** The VM process's exit code; `null` when it was killed or when nobody was there to see it. */
  readonly code: number | null;
  /** What the hypervisor knows about the end, a clause for people: "the guest shut down". */
  readonly reason?: string;
}

/** Why a VM's processors stand still although it has not ended. */
export interface VmPause {
  /** `disk_full`: a write to the host's disk failed; it goes on where it was when there is room and it is resumed. */
  readonly cause: "disk_full" | "other";
  /** For people: "the host's disk is full; …". */
  readonly sentence: string;
}

/** A VM that runs, or has run. */
export interface RunningVm {
  readonly startedAt: Date;
  /** Settles when the VM has ended, by whatever cause. Never rejects. */
  readonly ended: Promise<VmExit>;
  /** `undefined` while its processors run. */
  readonly pause: VmPause | undefined;
  /** Lets a VM that stands still go on. Resolves when it has been told to. */
  resume(): Promise<void>;
  /**
   * Bytes of files below a directory that the VM has deleted and holds open: on the host's disk, and in no listing.
   */
  deletedBytes(dir: string): Promise<number>;
  /** Asks the guest to shut down, as the power button does. Resolves when it has been asked. */
  powerDown(): Promise<void>;
  /** Ends the VM at once. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Lets go of the VM without ending it: the next teepod attaches to it. */
  detach(): void;
}

/** What runs VMs: QEMU, or a stand-in of a test. */
export interface Hypervisor {
  /** A word or two for the status page and the log: "qemu, tcg". */
  readonly description: string;
  /**
   * Starts a VM. Must not be called for one that runs.
   * @throws {HypervisorError} it could not be started; nothing of it runs then
   */
  start(vm: VmLaunch): Promise<RunningVm>;
  /** Takes up a VM that an earlier teepod started, if it still runs. */
  attach(vm: VmPlace): Promise<RunningVm | undefined>;
}
