import { constants } from "node:fs";
import { mkdir, open, readdir, realpath, rename, stat, truncate, unlink } from "node:fs/promises";
import { join } from "node:path";
import {
  InputError,
  createFileExclusive,
  errorMessage,
  parseVmId,
  readRegularFile,
  readRegularFileIfAny,
  writeFileAtomic,
} from "@dstack/core";
import type { VmId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { removeTree, syncDirectory } from "./directories.js";
import { formatManifest, parseManifest } from "./manifest.js";
import type { Manifest } from "./manifest.js";
import { parseSavedState, savedState } from "./state.js";
import type { SavedState, VmState } from "./state.js";

const MANIFEST = "manifest.json";
const STATE = "state.json";
const STAGING = ".staging-";
const REMOVING = ".removing-";
const DISK = "hda.img";

/** A manifest holds a compose document and an encrypted environment, both capped far below this. */
const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
const MAX_STATE_BYTES = 64 * 1024;

export const GIB = 2 ** 30;

/** A VM as it lies on the disk. */
export interface StoredVm {
  readonly manifest: Manifest;
  readonly saved: SavedState | undefined;
}

/**
 * The VM directories under `run_path`, one per VM, named by its id. A VM exists exactly while that directory does:
 * it is renamed into place when it is complete, and renamed away before anything in it is deleted (T4).
 */
export class VmStore {
  private constructor(
    readonly root: string,
    readonly log: Logger,
  ) {}

  /** Makes the directory if need be; gives its path without links. */
  static async prepare(runPath: string): Promise<string> {
    await mkdir(runPath, { recursive: true, mode: 0o700 });
    return realpath(runPath);
  }

  /**
   * Opens the directory and ends what a killed teepod left half done.
   * @param root as {@link prepare} gave it, locked: another teepod's staging directory would look interrupted
   */
  static async open(root: string, log: Logger): Promise<VmStore> {
    const store = new VmStore(root, log);
    await removeUnfinishedWrites(root);
    for (const name of await readdir(store.root)) {
      if (!name.startsWith(STAGING) && !name.startsWith(REMOVING)) continue;
      log.info({ name }, "ending what was interrupted");
      await removeTree(join(store.root, name));
    }
    return store;
  }

  /** The VM's directory. An id is a UUID by its type, so it cannot lead elsewhere (T1). */
  dir(id: VmId): string {
    return join(this.root, parseVmId(id));
  }

  /** All VMs. A directory whose files cannot be read is reported and left alone. */
  async load(): Promise<StoredVm[]> {
    const vms: StoredVm[] = [];
    for (const name of (await readdir(this.root)).sort()) {
      let id: VmId;
      try {
        id = parseVmId(name);
      } catch {
        continue;
      }
      try {
        vms.push(await this.#read(id));
      } catch (err) {
        this.log.error(
          { vm: id, reason: errorMessage(err) },
          "cannot read the VM's directory; it is left as it is",
        );
      }
    }
    return vms;
  }

  async #read(id: VmId): Promise<StoredVm> {
    const dir = this.dir(id);
    await removeUnfinishedWrites(dir);
    const decode = new TextDecoder();
    const manifest = parseManifest(
      decode.decode(await readRegularFile(join(dir, MANIFEST), MAX_MANIFEST_BYTES)),
    );
    if (manifest.id !== id) throw new InputError("its manifest belongs to another VM");
    const state = await readRegularFileIfAny(join(dir, STATE), MAX_STATE_BYTES);
    return { manifest, saved: state === undefined ? undefined : parseSavedState(decode.decode(state)) };
  }

  /**
   * Makes a VM: everything in a staging directory, then one rename.
   * @param fill puts further files into the directory before it counts
   */
  async create(manifest: Manifest, fill: (dir: string) => Promise<void>): Promise<void> {
    const staging = join(this.root, STAGING + manifest.id);
    await mkdir(staging, { mode: 0o700 });
    try {
      await createFileExclusive(join(staging, MANIFEST), formatManifest(manifest));
      await createFileExclusive(join(staging, STATE), JSON.stringify(savedState({ at: "stopped" })));
      await makeSparse(join(staging, DISK), manifest.disk_gb * GIB);
      await fill(staging);
      await syncDirectory(staging);
      await rename(staging, this.dir(manifest.id));
    } catch (err) {
      await removeTree(staging).catch(() => {});
      throw err;
    }
    await syncDirectory(this.root);
  }

  async saveManifest(manifest: Manifest): Promise<void> {
    await writeFileAtomic(join(this.dir(manifest.id), MANIFEST), formatManifest(manifest), { mode: 0o600 });
  }

  async saveState(id: VmId, state: VmState): Promise<void> {
    await writeFileAtomic(join(this.dir(id), STATE), JSON.stringify(savedState(state)), { mode: 0o600 });
  }

  /** Makes the data disk larger; what is on it stays. */
  async growDisk(id: VmId, diskGb: number): Promise<void> {
    const path = join(this.dir(id), DISK);
    const { size } = await stat(path);
    if (size < diskGb * GIB) await truncate(path, diskGb * GIB);
  }

  /**
   * Removes a VM: once this resolves it is gone for good.
   * @returns deletes what is left of it; should that not happen, the next {@link open} does it
   */
  async takeAway(id: VmId): Promise<() => Promise<void>> {
    const doomed = join(this.root, REMOVING + id);
    await rename(this.dir(id), doomed);
    await syncDirectory(this.root);
    return () => removeTree(doomed);
  }
}

/** What {@link writeFileAtomic} left when teepod was killed before the new content counted. */
async function removeUnfinishedWrites(dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    if (/^\..+\.[0-9a-f]{12}\.tmp$/.test(name)) await unlink(join(dir, name));
  }
}

async function makeSparse(path: string, bytes: number): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
  try {
    await file.truncate(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}
