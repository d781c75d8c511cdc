import { mkdir, readdir, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import { InputError, errorCode, errorMessage, readRegularFile, writeFileAtomic } from "@dstack/core";
import type { InstanceId } from "@dstack/core";
import { readInstance, writeInstance } from "./instance.js";
import type { Instance } from "./instance.js";

/** A record has about 300 bytes. */
const MAX_RECORD_BYTES = 4_096;

/** One file an instance, replaced whole: after a crash at any moment each is the old or the new one. */
export class InstanceStore {
  private constructor(readonly directory: string) {}

  static async open(directory: string): Promise<InstanceStore> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return new InstanceStore(directory);
  }

  /**
   * @throws {InputError} a file that is no record, named; it is neither skipped nor removed, because its instance
   * holds an address
   */
  async load(): Promise<Instance[]> {
    const instances: Instance[] = [];
    for (const name of (await readdir(this.directory)).toSorted()) {
      const path = join(this.directory, name);
      // What an interrupted writeFileAtomic leaves was never acknowledged.
      if (name.startsWith(".") && name.endsWith(".tmp")) {
        await rm(path, { force: true });
        continue;
      }
      try {
        const instance = readInstance(
          Buffer.from(await readRegularFile(path, MAX_RECORD_BYTES)).toString("utf8"),
        );
        if (name !== fileName(instance.instanceId)) throw new InputError("the name is another instance's");
        instances.push(instance);
      } catch (err) {
        throw new InputError(`reading ${path}: ${errorMessage(err)}`, { cause: err });
      }
    }
    return instances;
  }

  async put(instance: Instance): Promise<void> {
    await writeFileAtomic(join(this.directory, fileName(instance.instanceId)), writeInstance(instance), {
      mode: 0o600,
    });
  }

  async delete(id: InstanceId): Promise<void> {
    await unlink(join(this.directory, fileName(id))).catch((err: unknown) => {
      if (errorCode(err) !== "ENOENT") throw err;
    });
  }
}

function fileName(id: InstanceId): string {
  return `${id}.json`;
}
