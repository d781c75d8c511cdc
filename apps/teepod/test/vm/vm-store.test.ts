import { mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { appIdOfCompose, parseVmId, utf8 } from "@dstack/core";
import type { VmId } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { VmStore } from "../../src/vm/vm-store.js";
import type { Manifest } from "../../src/vm/manifest.js";
import { COMPOSE } from "../helpers/testpod.js";

const id = parseVmId("0d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11");
const manifest: Manifest = {
  version: 1,
  id,
  name: "hello",
  image: "tiny",
  app_id: appIdOfCompose(utf8(COMPOSE)),
  app_id_given: false,
  compose_file: COMPOSE,
  encrypted_env: Uint8Array.of(1, 2, 255),
  vcpu: 1,
  memory_mb: 64,
  disk_gb: 2,
  ports: [{ protocol: "tcp", host_port: 8000, vm_port: 80 }],
  cid: 1000,
  created_at: "2026-01-01T00:00:00.000Z",
};

describe("VM directories", () => {
  let root: string;
  let store: VmStore;
  const open = async (): Promise<VmStore> => VmStore.open(await VmStore.prepare(root), silentLogger());
  beforeEach(async () => {
    root = join(await mkdtemp(join(tmpdir(), "teepod-store-")), "run");
    store = await open();
  });
  afterEach(() => rm(join(root, ".."), { recursive: true, force: true }));

  it("are private, with a sparse disk", async () => {
    await store.create(manifest, async () => {});
    expect((await stat(root)).mode & 0o777).toBe(0o700);
    expect((await stat(store.dir(id))).mode & 0o777).toBe(0o700);
    const disk = await stat(join(store.dir(id), "hda.img"));
    expect(disk.size).toBe(2 * 2 ** 30);
    expect(disk.blocks * 512).toBeLessThan(2 ** 20);
    expect(await store.load()).toEqual([{ manifest, saved: { at: "stopped" } }]);
  });

  it("T4: a create that fails half-way leaves nothing", async () => {
    const create = store.create(manifest, async (dir) => {
      await writeFile(join(dir, "something"), "x");
      throw new Error("in the middle");
    });
    await expect(create).rejects.toThrow("in the middle");
    expect(await readdir(root)).toEqual([]);
  });

  it("T4: a create that was cut off is not a VM, and is cleared at the next start", async () => {
    let copied: string | undefined;
    await store.create(manifest, async (dir) => {
      // What a kill at this moment leaves behind.
      copied = join(root, ".staging-7d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11");
      await mkdir(copied);
      await writeFile(join(copied, "manifest.json"), await readFile(join(dir, "manifest.json")));
    });
    expect(await store.load()).toHaveLength(1);
    expect(await (await open()).load()).toHaveLength(1);
    expect(await readdir(root)).toEqual([id]);
  });

  it("T4: a removal that was cut off goes on at the next start", async () => {
    await store.create(manifest, async () => {});
    await store.takeAway(id); // the files are not deleted: killed here
    expect(await store.load()).toEqual([]);
    expect(await readdir(root)).toEqual([`.removing-${id}`]);
    await open();
    expect(await readdir(root)).toEqual([]);
  });

  it("are removed although a guest nested directories deeper than a path can be", async () => {
    await store.create(manifest, async () => {});
    const before = process.cwd();
    process.chdir(store.dir(id));
    try {
      for (let i = 0; i < 30; i++) {
        const name = "d".repeat(200);
        await mkdir(name);
        process.chdir(name);
      }
    } finally {
      process.chdir(before);
    }
    const deleteFiles = await store.takeAway(id);
    await deleteFiles();
    expect(await readdir(root)).toEqual([]);
  });

  it("that cannot be read are left alone and do not stop the others", async () => {
    await store.create(manifest, async () => {});
    const broken = "7d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11";
    await mkdir(join(root, broken));
    await writeFile(join(root, broken, "manifest.json"), "{");
    const stolen = "8d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11";
    await mkdir(join(root, stolen));
    await writeFile(
      join(root, stolen, "manifest.json"),
      await readFile(join(store.dir(id), "manifest.json")),
    );
    expect((await (await open()).load()).map((vm) => vm.manifest.id)).toEqual([id]);
    expect((await readdir(root)).sort()).toEqual([id, broken, stolen].sort());
  });

  it("T1: have no other names than UUIDs", () => {
    for (const name of ["../x", "..", "", `${id}/..`, id.toUpperCase()]) {
      expect(() => store.dir(name as VmId)).toThrow("VM id must be a UUID");
    }
  });

  it("grow their disk and keep what is on it", async () => {
    await store.create(manifest, async () => {});
    const disk = join(store.dir(id), "hda.img");
    const { open: openFile } = await import("node:fs/promises");
    const file = await openFile(disk, "r+");
    await file.write("data", 4096);
    await file.close();
    await store.growDisk(id, 3);
    await store.growDisk(id, 1);
    expect((await stat(disk)).size).toBe(3 * 2 ** 30);
    const read = await openFile(disk);
    expect((await read.read(Buffer.alloc(4), 0, 4, 4096)).buffer.toString()).toBe("data");
    await read.close();
  });
});
