import { readdir, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InputError, errorCode, errorMessage, readRegularFile } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { ImageMetadata } from "./image.js";
import type { GuestImage } from "./image.js";

const MAX_METADATA_BYTES = 256 * 1024;
export const IMAGE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The guest images in one directory, one directory an image. */
export class ImageStore {
  constructor(
    readonly path: string,
    readonly log: Logger,
  ) {}

  /** All usable images by name. A directory that is no usable image is logged and left out. */
  async list(): Promise<GuestImage[]> {
    let root: string;
    let names: string[];
    try {
      root = await realpath(this.path);
      names = await readdir(root);
    } catch (err) {
      if (errorCode(err) === "ENOENT") return [];
      throw err;
    }
    const images: GuestImage[] = [];
    for (const name of names.filter((n) => IMAGE_NAME.test(n)).sort()) {
      try {
        const image = await this.#load(root, name);
        if (image !== undefined) images.push(image);
      } catch (err) {
        this.log.warn({ image: name, reason: errorMessage(err) }, "not a usable image");
      }
    }
    return images;
  }

  /**
   * The image of that name. The name is looked up in the listing and never becomes a path by itself (T1).
   * @throws {InputError} there is no such image
   */
  async get(name: string): Promise<GuestImage> {
    const images = await this.list();
    const image = images.find((candidate) => candidate.name === name);
    if (image !== undefined) return image;
    const known =
      images.length === 0 ? "there are none" : `there are ${images.map((i) => i.name).join(", ")}`;
    throw new InputError(`there is no image of that name; ${known}`);
  }

  async #load(root: string, name: string): Promise<GuestImage | undefined> {
    const dir = await realpath(join(root, name));
    if (!(await stat(dir)).isDirectory()) return undefined;
    if (dirname(dir) !== root) throw new InputError("its directory lies outside the image directory");
    const text = await readRegularFile(join(dir, "metadata.json"), MAX_METADATA_BYTES);
    const metadata = ImageMetadata.parse(JSON.parse(new TextDecoder().decode(text)));
    const file = async (fileName: string): Promise<string> => {
      const path = await realpath(join(dir, fileName));
      if (dirname(path) !== dir) throw new InputError(`${fileName} lies outside the image`);
      if (!(await stat(path)).isFile()) throw new InputError(`${fileName} is not a file`);
      return path;
    };
    return {
      name,
      dir,
      version: metadata.version,
      isDev: metadata.is_dev,
      cmdline: metadata.cmdline,
      rootfsHash: metadata.rootfs_hash,
      kernel: await file(metadata.kernel),
      initrd: await file(metadata.initrd),
      rootfs: await file(metadata.rootfs),
      ...(metadata.bios !== undefined && { bios: await file(metadata.bios) }),
    };
  }
}
