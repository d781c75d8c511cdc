import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { silentLogger } from "@dstack/daemon";
import { ImageStore } from "../../src/images/image-store.js";
import { writeImage } from "../helpers/images.js";

describe("the image listing", () => {
  let dir: string;
  let images: string;
  let store: ImageStore;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "teepod-images-"));
    images = join(dir, "images");
    store = new ImageStore(images, silentLogger());
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("lists what can be started, by directory name", async () => {
    await writeImage(images, "dstack-0.2.0-dev", { isDev: true });
    await writeImage(images, "dstack-0.1.0");
    await writeFile(join(images, "dstack-0.1.0.key"), "x");
    expect((await store.list()).map((image) => [image.name, image.isDev])).toEqual([
      ["dstack-0.1.0", false],
      ["dstack-0.2.0-dev", true],
    ]);
  });

  it("is empty without a directory", async () => {
    expect(await store.list()).toEqual([]);
    await expect(store.get("x")).rejects.toThrow("there is no image of that name; there are none");
  });

  it("leaves out broken images", async () => {
    await writeImage(images, "no-hash", { metadata: { rootfs_hash: "x" } });
    await writeImage(images, "no-kernel", { metadata: { kernel: "missing" } });
    await mkdir(join(images, "empty"));
    await writeImage(images, "good");
    expect((await store.list()).map((image) => image.name)).toEqual(["good"]);
  });

  for (const name of ["../outside", "..", ".", "", "good/../good", "good/", "/etc", "good\0", "GOOD"]) {
    it(`T1: is the only source of images, not ${JSON.stringify(name)}`, async () => {
      await writeImage(images, "good");
      await writeImage(dir, "outside");
      await expect(store.get(name)).rejects.toThrow("there is no image of that name; there are good");
    });
  }

  it("T1: does not follow links out of the image directory", async () => {
    await writeImage(dir, "outside");
    await mkdir(images, { recursive: true });
    await symlink(join(dir, "outside"), join(images, "linked"));
    await writeImage(images, "good");
    await writeFile(join(dir, "kernel"), "");
    await writeImage(images, "borrows", { metadata: { kernel: "k" } });
    await symlink(join(dir, "kernel"), join(images, "borrows", "k"));
    await writeImage(images, "climbs", { metadata: { kernel: "../good/bzImage" } });
    expect((await store.list()).map((image) => image.name)).toEqual(["good"]);
  });
});
