import { randomUUID } from "node:crypto";
import { InputError, Serial, appIdOfCompose, parseVmId, utf8 } from "@dstack/core";
import type { AppId, VmId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { Clock } from "../clock.js";
import type { Hypervisor, VmExit } from "../hypervisor/hypervisor.js";
import type { ImageStore } from "../images/image-store.js";
import { parseAppCompose } from "./app-compose.js";
import { allocateCid } from "./context-ids.js";
import type { CidPool } from "./context-ids.js";
import { explainFullDisk, requireDiskSpace } from "./disk-space.js";
import type { FreeSpace } from "./disk-space.js";
import { VmError } from "./errors.js";
import { prepareLaunch } from "./launch-files.js";
import type { GuestMaterial } from "./launch-files.js";
import { requireDiskSize, requireMemory, requireVcpu } from "./limits.js";
import type { VmLimits } from "./limits.js";
import { etagOf, newManifest } from "./manifest.js";
import type { Manifest } from "./manifest.js";
import { requireEncryptedEnv } from "./new-vm.js";
import type { NewVm } from "./new-vm.js";
import { describePort, findConflict, requirePortsFree } from "./ports.js";
import type { PortMapping } from "./ports.js";
import type { LogLimits } from "./serial-log.js";
import { recoverState } from "./state.js";
import type { VmState } from "./state.js";
import { Upkeep } from "./upkeep.js";
import { Vm } from "./vm.js";
import type { StoredVm, VmStore } from "./vm-store.js";

export interface VmManagerParts {
  readonly store: VmStore;
  readonly images: ImageStore;
  readonly hypervisor: Hypervisor;
  readonly material: GuestMaterial;
  readonly clock: Clock;
  readonly freeSpace: FreeSpace;
  readonly log: Logger;
}

export interface VmManagerRules {
  readonly limits: VmLimits;
  readonly cids: CidPool;
  /** Address forwarded ports listen on. */
  readonly portAddress: string;
  readonly logLimits: LogLimits;
  /** How long a guest that was asked to shut down may take. */
  readonly shutdownMs: number;
  /** Free bytes below which no VM is made or started. */
  readonly reserveBytes: number;
}

function portsOf(manifest: Manifest): PortMapping[] {
  return manifest.ports.map((p) => ({ protocol: p.protocol, hostPort: p.host_port, vmPort: p.vm_port }));
}

/** @throws {VmError} changed: it is another configuration than the one the caller has seen */
function requireUnchanged(manifest: Manifest, expectedEtag: string | undefined): void {
  if (expectedEtag === undefined || expectedEtag === etagOf(manifest)) return;
  throw new VmError(
    "changed",
    "somebody else has changed this VM since you looked at it, so nothing was changed; look at it again first",
  );
}

/** What a caller may change of a stopped VM. */
export interface VmResize {
  readonly vcpu?: number;
  readonly memoryMb?: number;
  readonly diskGb?: number;
}

/** The VMs of this host: makes, starts, ends, changes and removes them. {@link Upkeep} looks after those that run. */
export class VmManager implements AsyncDisposable {
  readonly #vms = new Map<VmId, Vm>();
  /** Creation looks at all VMs (ports, ids), so only one at a time. */
  readonly #creating = new Serial();
  readonly #upkeep: Upkeep;

  private constructor(
    readonly parts: VmManagerParts,
    readonly rules: VmManagerRules,
  ) {
    const { clock, log, freeSpace } = parts;
    this.#upkeep = new Upkeep({ clock, log, freeSpace, reserveBytes: rules.reserveBytes });
  }

  /** Takes up every VM on the disk: those that run are watched again, those that ended meanwhile are noted. */
  static async open(parts: VmManagerParts, rules: VmManagerRules): Promise<VmManager> {
    const manager = new VmManager(parts, rules);
    for (const stored of await parts.store.load()) await manager.#recover(stored);
    return manager;
  }

  /** All VMs, oldest first. */
  list(): Vm[] {
    return [...this.#vms.values()].sort((a, b) => a.manifest.created_at.localeCompare(b.manifest.created_at));
  }

  /** The VM of that id, if there is one. */
  find(id: string): Vm | undefined {
    return this.#vms.get(id as VmId);
  }

  /**
   * Makes a VM and starts it. When it cannot be started it is removed again: the caller has a running VM or nothing.
   * @throws {InputError}, {VmError}, {HypervisorError}
   */
  async create(request: NewVm): Promise<VmId> {
    const { store, images, freeSpace, clock } = this.parts;
    const image = await images.get(request.image);
    const vm = await this.#creating.run(async () => {
      const all = this.list();
      for (const other of all) {
        const conflict = findConflict(portsOf(other.manifest), request.ports);
        if (conflict === undefined) continue;
        throw new VmError(
          "in_use",
          `${describePort(conflict)} belongs to the VM ${other.manifest.name} (${other.id})`,
        );
      }
      await requirePortsFree(request.ports, this.rules.portAddress);
      await requireDiskSpace(store.root, this.rules.reserveBytes, freeSpace);
      const cid = allocateCid(this.rules.cids, new Set(all.map((other) => other.manifest.cid)));
      const manifest = newManifest(request, { id: parseVmId(randomUUID()), cid, now: clock.now() });
      await explainFullDisk(() =>
        store.create(manifest, (dir) =>
          prepareLaunch(dir, manifest, image, this.parts.material, this.parts.log),
        ),
      );
      return this.#add(manifest, { at: "stopped" });
    });
    try {
      await this.start(vm.id);
    } catch (err) {
      await this.remove(vm.id).catch((cause: unknown) => {
        this.parts.log.error({ vm: vm.id, err: cause }, "cannot remove a VM that could not be started");
      });
      throw err;
    }
    return vm.id;
  }

  /** Starts a VM. One that runs already is left as it is. */
  async start(id: string): Promise<void> {
    await this.#inTurn(id, async (vm) => {
      if (vm.state.at === "running") return;
      if (vm.state.at === "stopping") {
        throw new VmError("wrong_state", "the VM is stopping; start it when it has stopped");
      }
      const { images, hypervisor, material, log, store, freeSpace } = this.parts;
      const image = await images.get(vm.manifest.image).catch((err: unknown) => {
        // Whoever starts a VM did not name its image.
        throw err instanceof InputError
          ? new InputError(`its image ${vm.manifest.image} cannot be used: ${err.message}`, { cause: err })
          : err;
      });
      const ports = portsOf(vm.manifest);
      await requirePortsFree(ports, this.rules.portAddress);
      await requireDiskSpace(store.root, this.rules.reserveBytes, freeSpace);
      await explainFullDisk(async () => {
        await prepareLaunch(vm.dir, vm.manifest, image, material, log);
        await vm.serialLog.startNew();
      });
      const running = await hypervisor.start({
        id: vm.id,
        dir: vm.dir,
        image,
        vcpu: vm.manifest.vcpu,
        memoryMb: vm.manifest.memory_mb,
        ports,
        portAddress: this.rules.portAddress,
        cid: vm.manifest.cid,
      });
      await vm.apply({ type: "started", vm: running });
      this.#upkeep.follow(vm, running);
      log.info({ vm: vm.id, name: vm.manifest.name }, "VM started");
    });
  }

  /** Ends a VM at once. Resolves when it is gone; one that does not run counts as stopped from now on. */
  async stop(id: string): Promise<void> {
    await this.#inTurn(id, async (vm) => {
      const { state } = vm;
      if (state.at === "running" || state.at === "stopping") {
        // Written down first: whatever happens to teepod now, the end that follows was asked for.
        await vm.apply({ type: "asked", killAt: this.parts.clock.now() });
        await state.vm.kill();
        await this.#upkeep.noteEnd(vm, state.vm, await state.vm.ended);
      } else {
        await vm.apply({ type: "dismissed" });
      }
      this.parts.log.info({ vm: vm.id }, "VM stopped");
    });
  }

  /** Asks the guest to shut down. Resolves when it has been asked; when its time is over it is ended. */
  async shutDown(id: string): Promise<void> {
    await this.#inTurn(id, async (vm) => {
      const { state } = vm;
      if (state.at !== "running" && state.at !== "stopping") {
        throw new VmError("wrong_state", `the VM is not running, it is ${state.at}`);
      }
      await state.vm.powerDown();
      if (state.at === "stopping") return;
      const killAt = new Date(this.parts.clock.now().getTime() + this.rules.shutdownMs);
      await vm.apply({ type: "asked", killAt });
      this.#upkeep.endAt(vm, state.vm, killAt);
    });
  }

  /** Removes a VM and its data for good. It must not run. */
  async remove(id: string): Promise<void> {
    await this.#inTurn(id, async (vm) => {
      if (vm.runs) throw new VmError("wrong_state", `the VM is ${vm.state.at}; stop it first`);
      const deleteFiles = await this.parts.store.takeAway(vm.id);
      this.#vms.delete(vm.id);
      await deleteFiles();
      this.parts.log.info({ vm: vm.id }, "VM removed");
    });
  }

  /**
   * Replaces the compose document and the encrypted environment; the disk and the app id stay. Applies at the next
   * start.
   * @param encryptedEnv empty keeps the one there is
   * @param expectedEtag what the caller has seen; of any other configuration it is refused
   * @returns the hash of the new document in the form of an app id
   */
  async upgrade(
    id: string,
    composeFile: string,
    encryptedEnv: Uint8Array,
    expectedEtag?: string,
  ): Promise<AppId> {
    parseAppCompose(composeFile);
    requireEncryptedEnv(encryptedEnv);
    return this.#inTurn(id, async (vm) => {
      requireUnchanged(vm.manifest, expectedEtag);
      await vm.changeManifest({
        compose_file: composeFile,
        ...(encryptedEnv.length > 0 && { encrypted_env: encryptedEnv }),
      });
      return appIdOfCompose(utf8(composeFile));
    });
  }

  /** Changes the shape of a VM that does not run. Its disk only grows. */
  async resize(id: string, { vcpu, memoryMb, diskGb }: VmResize, expectedEtag?: string): Promise<void> {
    const { limits } = this.rules;
    if (vcpu !== undefined) requireVcpu(vcpu, limits);
    if (memoryMb !== undefined) requireMemory(memoryMb, limits);
    if (diskGb !== undefined) requireDiskSize(diskGb, limits);
    await this.#inTurn(id, async (vm) => {
      requireUnchanged(vm.manifest, expectedEtag);
      if (vm.runs) throw new VmError("wrong_state", `the VM is ${vm.state.at}; stop it before resizing it`);
      const { disk_gb: oldGb } = vm.manifest;
      if (diskGb !== undefined && diskGb < oldGb) {
        throw new InputError(`a disk cannot shrink: it has ${oldGb} GB`);
      }
      if (diskGb !== undefined && diskGb > oldGb) {
        await explainFullDisk(() => this.parts.store.growDisk(vm.id, diskGb));
      }
      await vm.changeManifest({
        ...(vcpu !== undefined && { vcpu }),
        ...(memoryMb !== undefined && { memory_mb: memoryMb }),
        ...(diskGb !== undefined && { disk_gb: diskGb }),
      });
    });
  }

  /** Lets go of all VMs; they run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#upkeep[Symbol.asyncDispose]();
    await Promise.all(this.list().map((vm) => vm.queue.run(async () => {})));
    for (const { state } of this.#vms.values()) {
      if (state.at === "running" || state.at === "stopping") state.vm.detach();
    }
  }

  #get(id: string): Vm {
    const vm = this.find(parseVmId(id));
    if (vm === undefined) throw new VmError("not_found", "there is no VM of that id");
    return vm;
  }

  /** Runs an operation on a VM when its turn comes. */
  async #inTurn<T>(id: string, operation: (vm: Vm) => Promise<T>): Promise<T> {
    const vm = this.#get(id);
    return vm.queue.run(async () => {
      if (this.#upkeep.stopping) throw new VmError("exhausted", "teepod is stopping");
      // Between asking for its queue and getting its turn a VM may have been removed.
      if (this.#vms.get(vm.id) !== vm) throw new VmError("not_found", "there is no VM of that id");
      return operation(vm);
    });
  }

  #add(manifest: Manifest, state: VmState): Vm {
    const { store, log } = this.parts;
    const vm = new Vm(manifest, state, { store, log, logLimits: this.rules.logLimits });
    this.#vms.set(vm.id, vm);
    return vm;
  }

  async #recover({ manifest, saved }: StoredVm): Promise<void> {
    const { hypervisor, store, log, clock } = this.parts;
    const alive = await hypervisor.attach({ id: manifest.id, dir: store.dir(manifest.id) });
    const recovered = recoverState(saved, alive);
    const vm = this.#add(manifest, "state" in recovered ? recovered.state : { at: "stopped" });
    if ("state" in recovered) {
      await vm.enter(recovered.state);
      if (alive === undefined) return;
      this.#upkeep.follow(vm, alive);
      log.info({ vm: vm.id, name: manifest.name }, "VM taken up again");
      return;
    }
    const { startedAt, wasStopping } = recovered.endedMeanwhile;
    const exit: VmExit = { code: null, reason: "it ended while teepod was not running" };
    const last = { startedAt, exitedAt: clock.now(), ...exit };
    const error = wasStopping ? undefined : await this.#upkeep.bootError(vm, exit);
    await vm.enter(
      wasStopping
        ? { at: "stopped", last }
        : { at: "exited", last: { ...last, ...(error !== undefined && { bootError: error }) } },
    );
    log.warn({ vm: vm.id, name: manifest.name }, "VM ended while teepod was not running");
  }
}
