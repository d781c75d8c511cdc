import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { InputError, readRegularFile } from "@dstack/core";
import { z } from "zod";
import { type LaunchMeasurements, simulatedLaunch } from "./launch.js";

const MAX_METADATA_BYTES = 64 * 1024;

const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "must be a plain file name");
/** The part of an image's metadata.json that decides how it starts; other members are left to their readers. */
const ImageMetadata = z.object({
  cmdline: z.string().max(4096),
  kernel: fileName,
  initrd: fileName,
  bios: fileName.optional(),
});

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
  const metadata = await readMetadata(join(imageDir, "metadata.json"));
  const digest = (name: string): Promise<Uint8Array> => sha384OfFile(join(imageDir, name));
  const [kernel, initrd, firmware] = await Promise.all([
    digest(metadata.kernel),
    digest(metadata.initrd),
    metadata.bios === undefined ? undefined : digest(metadata.bios),
  ]);
  return simulatedLaunch({ kernel, initrd, cmdline: metadata.cmdline, firmware });
}

async function readMetadata(path: string): Promise<z.infer<typeof ImageMetadata>> {
  const text = new TextDecoder().decode(await readRegularFile(path, MAX_METADATA_BYTES));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    throw new InputError(`${path} is not JSON`, { cause: err });
  }
  const parsed = ImageMetadata.safeParse(value);
  if (!parsed.success) throw new InputError(`${path}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
