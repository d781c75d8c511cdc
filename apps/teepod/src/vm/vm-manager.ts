import { randomUUID } from "node:crypto";
import { InputError, Serial, appIdOfCompose, errorMessage, parseVmId, utf8 } from "@dstack/core";
import type { AppId, VmId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { Clock } from "../clock.js";
import type { Hypervisor, RunningVm, VmExit } from "../hypervisor/hypervisor.js";
import type { ImageStore } from "../images/image-store.js";
import { parseAppCompose } from "./app-compose.js";
import { bootError } from "./boot-error.js";
import { allocateCid } from "./context-ids.js";
import type { CidPool } from "./context-ids.js";
import { explainFullDisk, requireDiskSpace } from "./disk-space.js";
import type { FreeSpace } from "./disk-space.js";
import { VmError } from "./errors.js";
import { prepareLaunch } from "./launch-files.js";
import type { GuestMaterial } from "./launch-files.js";
import { requireDiskSize, requireMemory, requireVcpu } from "./limits.js";
import type { VmLimits } from "./limits.js";
import { newManifest } from "./manifest.js";
import type { Manifest } from "./manifest.js";
import { requireEncryptedEnv } from "./new-vm.js";
import type { NewVm } from "./new-vm.js";
import { describePort, findConflict, requirePortsFree } from "./ports.js";
import type { PortMapping } from "./ports.js";
import { readProgress } from "./progress.js";
import type { LogLimits } from "./serial-log.js";
import { nextState, recoverState } from "./state.js";
import type { VmEvent, VmState } from "./state.js";
import { STATUS_SHARE_LIMITS, statusShareFits } from "./status-share.js";
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

/** How often serial logs and status shares of running VMs are looked at. */
const WATCH_EVERY_MS = 2_000;
/** How much of the console a boot error is made from. */
const CONSOLE_TAIL_BYTES = 16 * 1024;

function portsOf(manifest: Manifest): PortMapping[] {
  return manifest.ports.map((p) => ({ protocol: p.protocol, hostPort: p.host_port, vmPort: p.vm_port }));
}

/** What a caller may change of a stopped VM. */
export interface VmResize {
  readonly vcpu?: number;
  readonly memoryMb?: number;
  readonly diskGb?: number;
}

/** The VMs of this host: knows them, starts and ends them, and keeps an eye on the running ones. */
export class VmManager implements AsyncDisposable {
  readonly #vms = new Map<VmId, Vm>();
  /** Creation looks at all VMs (ports, ids), so only one at a time. */
  readonly #creating = new Serial();
  readonly #stop = new AbortController();
  readonly #tasks = new Set<Promise<void>>();

  private constructor(
    readonly parts: VmManagerParts,
    readonly rules: VmManagerRules,
  ) {}

  /** Takes up every VM on the disk: those that run are watched again, those that ended meanwhile are noted. */
  static async open(parts: VmManagerParts, rules: VmManagerRules): Promise<VmManager> {
    const manager = new VmManager(parts, rules);
    for (const stored of await parts.store.load()) await manager.#recover(stored);
    manager.#background("watching VMs", () => manager.#watchLoop());
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
    const vm = this.#get(id);
    await vm.queue.run(async () => {
      this.#requirePresent(vm);
      if (vm.state.at === "running") return;
      if (vm.state.at === "stopping") {
        throw new VmError("wrong_state", "the VM is stopping; start it when it has stopped");
      }
      const { images, hypervisor, material, log, store, freeSpace } = this.parts;
      const image = await images.get(vm.manifest.image);
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
      await this.#apply(vm, { type: "started", vm: running });
      this.#await(vm, running);
      log.info({ vm: vm.id, name: vm.manifest.name }, "VM started");
    });
  }

  /** Ends a VM at once. Resolves when it is gone; one that does not run counts as stopped from now on. */
  async stop(id: string): Promise<void> {
    const vm = this.#get(id);
    await vm.queue.run(async () => {
      this.#requirePresent(vm);
      const { state } = vm;
      if (state.at === "running" || state.at === "stopping") {
        // Written down first: whatever happens to teepod now, the end that follows was asked for.
        await this.#apply(vm, { type: "asked", killAt: this.parts.clock.now() });
        await state.vm.kill();
        await this.#noteEnd(vm, state.vm, await state.vm.ended);
      } else {
        await this.#apply(vm, { type: "dismissed" });
      }
      this.parts.log.info({ vm: vm.id }, "VM stopped");
    });
  }

  /** Asks the guest to shut down. Resolves when it has been asked; when its time is over it is ended. */
  async shutDown(id: string): Promise<void> {
    const vm = this.#get(id);
    await vm.queue.run(async () => {
      this.#requirePresent(vm);
      const { state } = vm;
      if (state.at !== "running" && state.at !== "stopping") {
        throw new VmError("wrong_state", `the VM is not running, it is ${state.at}`);
      }
      await state.vm.powerDown();
      if (state.at === "stopping") return;
      const killAt = new Date(this.parts.clock.now().getTime() + this.rules.shutdownMs);
      await this.#apply(vm, { type: "asked", killAt });
      this.#killAt(vm, state.vm, killAt);
    });
  }

  /** Removes a VM and its data for good. It must not run. */
  async remove(id: string): Promise<void> {
    const vm = this.#get(id);
    await vm.queue.run(async () => {
      this.#requirePresent(vm);
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
   * @returns the hash of the new document in the form of an app id
   */
  async upgrade(id: string, composeFile: string, encryptedEnv: Uint8Array): Promise<AppId> {
    parseAppCompose(composeFile);
    requireEncryptedEnv(encryptedEnv);
    const vm = this.#get(id);
    return vm.queue.run(async () => {
      this.#requirePresent(vm);
      await this.#saveManifest(vm, {
        ...vm.manifest,
        compose_file: composeFile,
        encrypted_env: encryptedEnv.length === 0 ? vm.manifest.encrypted_env : encryptedEnv,
      });
      return appIdOfCompose(utf8(composeFile));
    });
  }

  /** Changes the shape of a VM that does not run. Its disk only grows. */
  async resize(id: string, { vcpu, memoryMb, diskGb }: VmResize): Promise<void> {
    const { limits } = this.rules;
    if (vcpu !== undefined) requireVcpu(vcpu, limits);
    if (memoryMb !== undefined) requireMemory(memoryMb, limits);
    if (diskGb !== undefined) requireDiskSize(diskGb, limits);
    const vm = this.#get(id);
    await vm.queue.run(async () => {
      this.#requirePresent(vm);
      if (vm.runs) throw new VmError("wrong_state", `the VM is ${vm.state.at}; stop it before resizing it`);
      const { manifest } = vm;
      if (diskGb !== undefined && diskGb < manifest.disk_gb) {
        throw new InputError(`a disk cannot shrink: it has ${manifest.disk_gb} GB`);
      }
      if (diskGb !== undefined && diskGb > manifest.disk_gb) {
        await explainFullDisk(() => this.parts.store.growDisk(vm.id, diskGb));
      }
      await this.#saveManifest(vm, {
        ...manifest,
        vcpu: vcpu ?? manifest.vcpu,
        memory_mb: memoryMb ?? manifest.memory_mb,
        disk_gb: diskGb ?? manifest.disk_gb,
      });
    });
  }

  /** Lets go of all VMs; they run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("teepod is stopping"));
    await Promise.all([...this.#tasks, ...this.list().map((vm) => vm.queue.run(async () => {}))]);
    for (const vm of this.#vms.values()) {
      if (vm.state.at === "running" || vm.state.at === "stopping") vm.state.vm.detach();
    }
  }

  #get(id: string): Vm {
    const vm = this.find(parseVmId(id));
    if (vm === undefined) throw new VmError("not_found", "there is no VM of that id");
    return vm;
  }

  /** Between asking for its queue and getting its turn a VM may have been removed. */
  #requirePresent(vm: Vm): void {
    if (this.#stop.signal.aborted) throw new VmError("exhausted", "teepod is stopping");
    if (this.#vms.get(vm.id) !== vm) throw new VmError("not_found", "there is no VM of that id");
  }

  #add(manifest: Manifest, state: VmState): Vm {
    const vm = new Vm(manifest, state, this.parts.store.dir(manifest.id), this.rules.logLimits);
    this.#vms.set(vm.id, vm);
    return vm;
  }

  async #apply(vm: Vm, event: VmEvent): Promise<void> {
    vm.state = nextState(vm.state, event);
    await this.#saveState(vm);
  }

  async #saveState(vm: Vm): Promise<void> {
    try {
      await this.parts.store.saveState(vm.id, vm.state);
    } catch (err) {
      // A full disk. What runs is found again without the file; refusing to see the change would be worse.
      this.parts.log.error({ vm: vm.id, reason: errorMessage(err) }, "cannot write down the VM's state");
    }
  }

  async #saveManifest(vm: Vm, manifest: Manifest): Promise<void> {
    await explainFullDisk(() => this.parts.store.saveManifest(manifest));
    vm.manifest = manifest;
  }

  async #recover({ manifest, saved }: StoredVm): Promise<void> {
    const { hypervisor, store, log } = this.parts;
    const alive = await hypervisor.attach({ id: manifest.id, dir: store.dir(manifest.id) });
    const recovered = recoverState(saved, alive);
    if ("state" in recovered) {
      const { state } = recovered;
      const vm = this.#add(manifest, state);
      if (state.at === "running" || state.at === "stopping") {
        this.#await(vm, state.vm);
        log.info({ vm: vm.id, name: manifest.name }, "VM taken up again");
      }
      if (state.at === "stopping") this.#killAt(vm, state.vm, state.killAt);
      await this.#saveState(vm);
      return;
    }
    const { startedAt, wasStopping } = recovered.endedMeanwhile;
    const vm = this.#add(manifest, { at: "stopped" });
    const exit: VmExit = { code: null, reason: "while teepod was not running" };
    const end = { startedAt, exitedAt: this.parts.clock.now(), code: null };
    const error = wasStopping ? undefined : await this.#bootError(vm, exit);
    vm.state = wasStopping
      ? { at: "stopped", last: end }
      : { at: "exited", last: { ...end, ...(error !== undefined && { bootError: error }) } };
    await this.#saveState(vm);
    log.warn({ vm: vm.id, name: manifest.name }, "VM ended while teepod was not running");
  }

  async #bootError(vm: Vm, exit: VmExit): Promise<string | undefined> {
    const progress = await readProgress(vm.statusDir);
    return bootError(progress, exit, await vm.serialLog.tail(CONSOLE_TAIL_BYTES));
  }

  /** Notes the end of a VM whenever it comes. */
  #await(vm: Vm, running: RunningVm): void {
    const ended = running.ended.then((exit) => vm.queue.run(() => this.#noteEnd(vm, running, exit)));
    ended.catch((err: unknown) => this.parts.log.error({ vm: vm.id, err }, "cannot note the end of a VM"));
  }

  async #noteEnd(vm: Vm, running: RunningVm, exit: VmExit): Promise<void> {
    const { state } = vm;
    // Already noted by the operation that ended it, or no longer ours to note.
    if ((state.at !== "running" && state.at !== "stopping") || state.vm !== running) return;
    if (this.#stop.signal.aborted) return;
    const error = state.at === "running" ? await this.#bootError(vm, exit) : undefined;
    const end = { startedAt: running.startedAt, exitedAt: this.parts.clock.now(), code: exit.code };
    await this.#apply(vm, {
      type: "ended",
      end: { ...end, ...(error !== undefined && { bootError: error }) },
    });
    this.parts.log.info({ vm: vm.id, code: exit.code, reason: exit.reason, bootError: error }, "VM ended");
  }

  /** Ends a VM that does not shut down in time. */
  #killAt(vm: Vm, running: RunningVm, killAt: Date): void {
    this.#background("ending a VM", async () => {
      const ms = Math.max(0, killAt.getTime() - this.parts.clock.now().getTime());
      const limit = this.parts.clock.sleep(ms, this.#stop.signal).then(() => "limit" as const);
      const first = await Promise.race([limit, running.ended.then(() => "ended" as const)]);
      limit.catch(() => {});
      if (first === "ended") return;
      await vm.queue.run(async () => {
        if (vm.state.at !== "stopping" || vm.state.vm !== running) return;
        this.parts.log.warn({ vm: vm.id }, "the guest did not shut down in time; ending it");
        await running.kill();
        await this.#noteEnd(vm, running, await running.ended);
      });
    });
  }

  async #watchLoop(): Promise<void> {
    const { clock, log } = this.parts;
    for (;;) {
      await clock.sleep(WATCH_EVERY_MS, this.#stop.signal);
      for (const vm of this.list()) {
        if (!vm.runs) continue;
        try {
          await this.#watch(vm);
        } catch (err) {
          log.error({ vm: vm.id, reason: errorMessage(err) }, "cannot watch a VM");
        }
      }
    }
  }

  async #watch(vm: Vm): Promise<void> {
    await vm.queue.run(async () => {
      if (!vm.runs || this.#vms.get(vm.id) !== vm) return;
      await vm.serialLog.rotateIfLong();
    });
    if (await statusShareFits(vm.statusDir)) return;
    await vm.queue.run(async () => {
      const { state } = vm;
      if (state.at !== "running" && state.at !== "stopping") return;
      this.parts.log.error(
        { vm: vm.id, limits: STATUS_SHARE_LIMITS },
        "the guest fills its status share; ending it",
      );
      await state.vm.kill();
    });
  }

  #background(what: string, work: () => Promise<void>): void {
    const task = work()
      .catch((err: unknown) => {
        if (!this.#stop.signal.aborted) this.parts.log.error({ err }, `${what} failed`);
      })
      .finally(() => this.#tasks.delete(task));
    this.#tasks.add(task);
  }
}
