import { readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { errorCode, writeFileAtomic } from "@dstack/core";

/**
 * Takes from every container the engine knows its leave to start by itself: the engine, which must not run, finds them
 * stopped. A container whose settings cannot be read is forgotten.
 * @param directory `containers` in the engine's data root
 * @returns how many there are
 */
export async function disarmContainers(directory: string): Promise<number> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (err) {
    if (errorCode(err) === "ENOENT") return 0;
    throw err;
  }
  for (const name of names) {
    const path = join(directory, name, "hostconfig.json");
    const settings = await readSettings(path);
    if (settings === undefined) await rm(join(directory, name), { recursive: true, force: true });
    else {
      const disarmed = { ...settings, RestartPolicy: { Name: "no", MaximumRetryCount: 0 } };
      await writeFileAtomic(path, JSON.stringify(disarmed), { mode: 0o600 });
    }
  }
  return names.length;
}

async function readSettings(path: string): Promise<object | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}
