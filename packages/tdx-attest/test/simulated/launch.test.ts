import { createHash } from "node:crypto";
import { symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { replayEventLog } from "@dstack/attestation";
import { fromHex, hex, sha384 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  type LaunchInputs,
  type LaunchMeasurements,
  measureImage,
  simulatedLaunch,
} from "../../src/index.js";
import { tempDir } from "../temp-dir.js";

const inputs: LaunchInputs = {
  kernel: sha384("kernel"),
  initrd: sha384("initrd"),
  cmdline: "console=ttyS0 dstack.rootfs_hash=00",
  firmware: sha384("firmware"),
};

describe("simulatedLaunch. FROZEN: a changed byte makes allow-lists of simulated deployments useless", () => {
  it("gives these measurements", () => {
    const { events, ...registers } = simulatedLaunch(inputs);
    expect(registers).toMatchInlineSnapshot(`
      {
        "mrtd": "0f17e73df3843960d9f1e9600434278cecd3737a902d6a92cdf7e83878fe154ebc645910af033ccb08b15d3dd8fefab1",
        "rtmr0": "9954ced79d82c50b1019d947e0578dbcebaa64ca612af7538b126441d531c6ad1c41283ce1763d0e09cfc0fcba780852",
        "rtmr1": "9410f3545548cde38974a9a2bb8d3aac339c8cec42de5ca92525072c3cc172878ca4c7197f7d9d1b95dea0ccf80a3b06",
        "rtmr2": "e3a89d3e072cbf84f94cb9024715a46f1d826b0668b65121ac6237e69d09e49bbe3164520b4752d0dd2cd94c027e671d",
      }
    `);
    expect(events).toHaveLength(10);
  });

  it("has events that replay to its registers, and RTMR3 at zero", () => {
    const launch = simulatedLaunch(inputs);
    const replayed = replayEventLog([...launch.events]).map(hex);
    expect(replayed).toEqual([launch.rtmr0, launch.rtmr1, launch.rtmr2, "00".repeat(48)]);
  });

  const changes: [keyof LaunchInputs, Partial<LaunchInputs>, (keyof LaunchMeasurements)[]][] = [
    ["kernel", { kernel: sha384("other") }, ["rtmr1"]],
    ["initrd", { initrd: sha384("other") }, ["rtmr2"]],
    ["cmdline", { cmdline: "console=ttyS0" }, ["rtmr2"]],
    ["firmware", { firmware: sha384("other") }, ["mrtd", "rtmr0"]],
    ["firmware", { firmware: undefined }, ["mrtd", "rtmr0"]],
  ];
  it.each(changes)("E9: shows another %s in its registers, and in no others", (_what, change, expected) => {
    const before = simulatedLaunch(inputs);
    const after = simulatedLaunch({ ...inputs, ...change });
    const differing = (["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const).filter(
      (name) => before[name] !== after[name],
    );
    expect(differing).toEqual(expected);
  });

  it("measures the command line as the firmware hands it over: UTF-16, NUL, name of the initrd", () => {
    const text = Buffer.from(`${inputs.cmdline} initrd=initrd\0`, "utf16le");
    const event = simulatedLaunch(inputs).events.find((one) => one.event === "kernel-cmdline");
    expect(event?.digest).toBe(createHash("sha384").update(text).digest("hex"));
  });

  it("refuses digests of another length", () => {
    expect(() => simulatedLaunch({ ...inputs, kernel: fromHex("00") })).toThrow(
      "kernel digest must be 48 bytes",
    );
  });
});

describe("measureImage", () => {
  async function image(metadata: unknown): Promise<string> {
    const dir = await tempDir();
    await writeFile(
      join(dir, "metadata.json"),
      typeof metadata === "string" ? metadata : JSON.stringify(metadata),
    );
    for (const name of ["bzImage", "initramfs.cpio.zst", "ovmf.fd"]) await writeFile(join(dir, name), name);
    return dir;
  }
  const metadata = { name: "x", cmdline: "console=ttyS0", kernel: "bzImage", initrd: "initramfs.cpio.zst" };

  it("measures the files themselves", async () => {
    const expected = simulatedLaunch({
      kernel: sha384("bzImage"),
      initrd: sha384("initramfs.cpio.zst"),
      cmdline: "console=ttyS0",
      firmware: sha384("ovmf.fd"),
    });
    expect(await measureImage(await image({ ...metadata, bios: "ovmf.fd" }))).toEqual(expected);
  });

  it("measures an image without firmware", async () => {
    const { mrtd } = await measureImage(await image(metadata));
    expect(mrtd).toBe(simulatedLaunch({ ...inputs, firmware: undefined }).mrtd);
  });

  it.each([
    ["a path", { ...metadata, kernel: "../bzImage" }, "plain file name"],
    ["a missing member", { cmdline: "", kernel: "bzImage" }, "initrd"],
    ["text", "not json", "is not JSON"],
  ])("T1: refuses metadata with %s", async (_what, wrong, reason) => {
    await expect(measureImage(await image(wrong))).rejects.toThrow(reason);
  });

  it("T1: refuses metadata that is a link", async () => {
    const dir = await tempDir();
    await symlink(join(await image(metadata), "metadata.json"), join(dir, "metadata.json"));
    await expect(measureImage(dir)).rejects.toThrow("symbolic link");
  });

  it("fails for a file that is not there", async () => {
    await expect(measureImage(await image({ ...metadata, kernel: "vmlinuz" }))).rejects.toThrow("ENOENT");
  });
});
