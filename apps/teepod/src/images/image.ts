import { z } from "zod";

/** A file name without a directory: an image's metadata must not point outside the image. */
const fileName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/, "must be a plain file name");

/** `metadata.json` of a guest image (guest-image.md "Image"). Keys of newer images are ignored. */
export const ImageMetadata = z.object({
  name: z.string().optional(),
  version: z.string().max(64),
  is_dev: z.boolean(),
  cmdline: z.string().max(2048),
  rootfs_hash: z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits"),
  kernel: fileName,
  initrd: fileName,
  rootfs: fileName,
  bios: fileName.optional(),
});

/** A guest image that can be started. Paths are absolute. */
export interface GuestImage {
  /** Its name in the listing: the name of its directory. */
  readonly name: string;
  readonly dir: string;
  readonly version: string;
  readonly isDev: boolean;
  /** The measured kernel command line. */
  readonly cmdline: string;
  /** Root hash of the verity root file system, 64 hex digits. */
  readonly rootfsHash: string;
  readonly kernel: string;
  readonly initrd: string;
  readonly rootfs: string;
  readonly bios?: string;
}

/** One line about an image, for lists. */
export function describeImage(image: GuestImage): string {
  return `version ${image.version}, ${image.isDev ? "development" : "production"}`;
}
