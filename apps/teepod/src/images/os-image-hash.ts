import { join } from "node:path";
import { hex, readRegularFileIfAny, sha256 } from "@dstack/core";
import type { GuestImage } from "./image.js";

const MAX_LIST_BYTES = 64 * 1024;

/**
 * What verifiers call an image by: SHA-256 of its `sha256sum.txt`, hex; `undefined` for an image without that list.
 * The list is taken at its word, for whoever uses the hash recomputes the registers from the image it leads to.
 */
export async function osImageHash(image: GuestImage): Promise<string | undefined> {
  const list = await readRegularFileIfAny(join(image.dir, "sha256sum.txt"), MAX_LIST_BYTES);
  return list === undefined ? undefined : hex(sha256(list));
}
