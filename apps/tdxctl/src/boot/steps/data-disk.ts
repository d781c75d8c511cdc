import { InputError } from "@dstack/core";
import { BLANK_CHECK_BYTES, planDisk } from "../disk/disk-plan.js";
import { HEADER_AREA_BYTES, MAX_HEADER_BYTES, checkLuks2Header } from "../disk/luks2-header.js";
import type { GuestSystem } from "../guest-system.js";
import { instanceInfoText, parseInstanceInfo } from "../identity.js";
import type { Identity } from "../identity.js";

/** Header and the smallest useful file system. */
const MIN_DISK_BYTES = 64 * 2 ** 20;
const INSTANCE_FILE = ".instance_info";
const MAX_INSTANCE_FILE_BYTES = 4096;

/**
 * Opens the encrypted data disk and mounts it; makes it first, where it is blank and the instance is new (G3).
 * @throws {LuksHeaderError} a header this guest would not have made (G2)
 * @throws {InputError} no usable disk, or another instance's
 */
export async function openDataDisk(
  system: GuestSystem,
  instance: { key: Uint8Array; identity: Identity; bootstrapped: boolean },
  signal: AbortSignal,
): Promise<{ fresh: boolean }> {
  const { dataDisk } = system;
  const { key, identity } = instance;
  const size = await dataDisk.size();
  if (size < MIN_DISK_BYTES)
    throw new InputError(`the data disk has ${size} bytes, it needs ${MIN_DISK_BYTES}`);
  const head = await dataDisk.read(0, Math.min(size, BLANK_CHECK_BYTES));
  const plan = planDisk(head, instance.bootstrapped);
  if (plan === "format") {
    // The id is settled before the disk hangs on it: a boot that ends in between finds its disk again.
    await system.writeInstanceInfo(instanceInfoText(identity, false));
    await dataDisk.format(key, signal);
  }
  await dataDisk.open(await checkedHeader(system, size), key, signal);
  if (plan === "format") await dataDisk.makeFileSystem(signal);
  await dataDisk.mount(signal);
  await claimDisk(system, identity);
  await system.writeInstanceInfo(instanceInfoText(identity, true));
  return { fresh: plan === "format" };
}

/** One copy in memory is checked, and that copy is what cryptsetup gets: the host may change the disk at any time. */
async function checkedHeader(system: GuestSystem, size: number): Promise<Uint8Array> {
  const copy = await system.dataDisk.read(0, Math.min(size, MAX_HEADER_BYTES));
  const { dataOffset } = checkLuks2Header(copy);
  return copy.subarray(0, Math.max(dataOffset, 2 * HEADER_AREA_BYTES));
}

/** The disk says whose it is, where the host cannot write. */
async function claimDisk(system: GuestSystem, identity: Identity): Promise<void> {
  const written = await system.dataDisk.readFile(INSTANCE_FILE, MAX_INSTANCE_FILE_BYTES);
  if (written === undefined) {
    await system.dataDisk.writeFile(INSTANCE_FILE, instanceInfoText(identity, true));
    return;
  }
  const info = parseInstanceInfo(written);
  if (info.instanceId !== identity.instanceId || info.appId !== identity.appId) {
    throw new InputError("the data disk belongs to another instance");
  }
}
