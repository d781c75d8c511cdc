import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tinyKernel } from "./tiny-guest.js";
import type { TinyBehaviour } from "./tiny-guest.js";

export const ROOTFS_HASH = "ab".repeat(32);

/** Writes a guest image whose kernel is the tiny guest. */
export async function writeImage(
  imagePath: string,
  name: string,
  options: {
    text?: string;
    behaviour?: TinyBehaviour;
    isDev?: boolean;
    metadata?: Record<string, unknown>;
  } = {},
): Promise<string> {
  const dir = join(imagePath, name);
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, "bzImage"), tinyKernel(options.text ?? "hello\n", options.behaviour ?? "wait"));
  await writeFile(join(dir, "initramfs.cpio.zst"), new Uint8Array(512));
  await writeFile(join(dir, "rootfs.img"), new Uint8Array(4096));
  const metadata = {
    name,
    version: "0.0.1",
    is_dev: options.isDev ?? false,
    cmdline: "console=ttyS0",
    rootfs_hash: ROOTFS_HASH,
    kernel: "bzImage",
    initrd: "initramfs.cpio.zst",
    rootfs: "rootfs.img",
    ...options.metadata,
  };
  await writeFile(join(dir, "metadata.json"), JSON.stringify(metadata));
  await writeFile(join(dir, "sha256sum.txt"), `${ROOTFS_HASH}  rootfs.img\n`);
  return dir;
}
