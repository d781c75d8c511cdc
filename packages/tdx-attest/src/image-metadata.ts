import { InputError, errorCode, readRegularFile } from "@dstack/core";
import { join } from "node:path";
import { z } from "zod";

const MAX_METADATA_BYTES = 64 * 1024;

const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, "must be a plain file name");
/** The part of an image's metadata.json that decides how it starts; other members are left to their readers. */
const ImageMetadata = z.object({
  cmdline: z.string().max(4096),
  kernel: fileName,
  initrd: fileName,
  bios: fileName.optional(),
});
export type ImageMetadata = z.infer<typeof ImageMetadata>;

/**
 * Reads `metadata.json` of an image directory.
 * @throws {InputError} metadata that is not as it should be
 * @throws a system error for a missing file
 */
export async function readImageMetadata(imageDir: string): Promise<ImageMetadata> {
  const path = join(imageDir, "metadata.json");
  const text = new TextDecoder().decode(await readMetadata(imageDir, path));
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

async function readMetadata(imageDir: string, path: string): Promise<Uint8Array> {
  try {
    return await readRegularFile(path, MAX_METADATA_BYTES);
  } catch (err) {
    if (errorCode(err) !== "ENOENT" && errorCode(err) !== "ENOTDIR") throw err;
    throw new InputError(`${imageDir} is not the directory of a guest image: it has no metadata.json`, {
      cause: err,
    });
  }
}
