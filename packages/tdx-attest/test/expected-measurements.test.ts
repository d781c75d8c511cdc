import { mkdtemp, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { computeMeasurements, replayEventLog } from "@dstack/attestation";
import { hex } from "@dstack/core";
import { describe, expect, it, onTestFinished } from "vitest";
import { expectedMeasurements, readLaunch } from "../src/index.js";
import { noise } from "../../attestation/test/measurement/files.js";
import { startLog, writeTdxImage } from "./fixtures/tdx-image.js";
import type { TdxImageChanges } from "./fixtures/tdx-image.js";

async function image(changes: TdxImageChanges = {}): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "tdx-image-"));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return writeTdxImage(dir, changes);
}

describe("readLaunch", () => {
  it("reads the files that metadata.json names, and knows the host by QEMU's version", async () => {
    const launch = await readLaunch(await image(), { memoryMib: 2048, qemu: "9.2" });
    expect(launch.initrd).toEqual(noise(5000, 9));
    expect(launch).toMatchObject({
      cmdline: "console=ttyS0 dstack.rootfs_hash=00",
      memoryMib: 2048,
      host: { kernel: "patched", pageOrder: "page-by-page" },
    });
    expect((await readLaunch(await image())).host, "the first QEMU with TDX").toEqual({
      kernel: "as-is",
      pageOrder: "page-by-page",
    });
  });

  it("refuses an image without firmware, and what is no image", async () => {
    await expect(readLaunch(await image({ firmware: undefined }))).rejects.toThrow(/names no bios/);
    await expect(readLaunch(await image(), { qemu: "7.2" })).rejects.toThrow(/no TDX in QEMU "7.2"/);
    const broken = await image();
    await writeFile(join(broken, "metadata.json"), '{"kernel": "../../etc/passwd"}');
    await expect(readLaunch(broken)).rejects.toThrow(/plain file name/);
    await expect(readLaunch(join(broken, "none"))).rejects.toThrow(/is not the directory of a guest image/);
  });

  it("follows no link out of the image", async () => {
    const dir = await image();
    await unlink(join(dir, "initramfs"));
    await symlink("/etc/hostname", join(dir, "initramfs"));
    await expect(readLaunch(dir)).rejects.toThrow();
  });
});

describe("expectedMeasurements", () => {
  it("computes the registers of the files, each from what it is of", async () => {
    const base = await expectedMeasurements(await image(), { memoryMib: 2048 });
    expect(base).toEqual(computeMeasurements(await readLaunch(await image(), { memoryMib: 2048 })));
    expect(base.rtmr0).toBeUndefined();
    const cmdline = await expectedMeasurements(await image({ cmdline: "console=ttyS0 init=/bin/sh" }));
    expect([cmdline.mrtd, cmdline.rtmr1]).toEqual([base.mrtd, base.rtmr1]);
    expect(cmdline.rtmr2).not.toBe(base.rtmr2);
  });

  it("takes ACPI digests and memory from a log", async () => {
    const dir = await image();
    const log = await startLog(dir, { memoryMib: 4096 });
    const measured = await expectedMeasurements(dir, {}, log);
    expect(measured).toMatchObject({ acpi: "log", memory: "log", memoryMib: 4096 });
    expect(measured.rtmr0).toBe(hex(replayEventLog(log)[0] ?? new Uint8Array()));
  });
});
