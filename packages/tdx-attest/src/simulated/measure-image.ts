import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { readImageMetadata } from "../image-metadata.js";
import { type LaunchMeasurements, simulatedLaunch } from "./launch.js";

async function sha384OfFile(path: string): Promise<Uint8Array> {
  const hash = createHash("sha384");
  await pipeline(createReadStream(path), hash);
  return new Uint8Array(hash.digest());
}

/**
 * The measurements a VM of this guest image has on the simulated platform, from the files themselves.
 * @param imageDir directory with `metadata.json` and the files it names
 * @throws {InputError} metadata that is not as it should be
 * @throws a system error for a missing file
 */
export async function measureImage(imageDir: string): Promise<LaunchMeasurements> {
  const metadata = await readImageMetadata(imageDir);
  const digest = (name: string): Promise<Uint8Array> => sha384OfFile(join(imageDir, name));
  const [kernel, initrd, firmware] = await Promise.all([
    digest(metadata.kernel),
    digest(metadata.initrd),
    metadata.bios === undefined ? undefined : digest(metadata.bios),
  ]);
  return simulatedLaunch({ kernel, initrd, cmdline: metadata.cmdline, firmware });
}
