import type { AllowedImage } from "@dstack/attestation";
import { PolicyConfig } from "@dstack/attestation";
import { InputError, errorCode, errorMessage, readRegularFileIfAny } from "@dstack/core";
import { basename } from "node:path";
import { parse } from "smol-toml";
import { z } from "zod";
import { CliError } from "../output.js";

const MAX_BYTES = 1024 * 1024;
const Written = z.looseObject({
  attestation: z.looseObject({ images: PolicyConfig.shape.images }),
});

export type Measure = (name: string) => Promise<AllowedImage>;

/**
 * `images.allowed` of a daemon for a new guest image: it, and those the daemon's configuration allows already whose files
 * still measure the same: their VMs go on (E9). Their entries are as they were, with the RTMR0 that was pinned.
 * @param file the daemon's configuration; need not be there
 * @throws {CliError} a configuration that is not TOML, or lists images in another form
 */
export async function allowedImages(file: string, image: string, measure: Measure): Promise<AllowedImage[]> {
  const others = (await imagesOf(file)).filter(({ name }) => name !== image);
  const stand = await Promise.all(others.map((entry) => stands(entry, measure)));
  return [await measure(image), ...others.filter((_, i) => stand[i])];
}

/** The images a daemon's configuration allows. @throws {CliError} as {@link allowedImages} */
export async function imagesOf(file: string): Promise<AllowedImage[]> {
  const bytes = await readRegularFileIfAny(file, MAX_BYTES);
  if (bytes === undefined) return [];
  try {
    return Written.parse(parse(new TextDecoder().decode(bytes))).attestation.images.allowed;
  } catch (err) {
    const what = err instanceof z.ZodError ? z.prettifyError(err) : errorMessage(err);
    throw new CliError(`${basename(file)} cannot be read for the images it allows: ${what}`, 1, {
      cause: err,
    });
  }
}

/** RTMR0 is not compared: what pins it does not follow from the image's files. */
async function stands(entry: AllowedImage, measure: Measure): Promise<boolean> {
  if (entry.name !== basename(entry.name)) return false;
  try {
    const now = await measure(entry.name);
    return (["mrtd", "rtmr1", "rtmr2"] as const).every((register) => now[register] === entry[register]);
  } catch (err) {
    if (err instanceof InputError || ["ENOENT", "ENOTDIR"].includes(errorCode(err) ?? "")) return false;
    throw err;
  }
}
