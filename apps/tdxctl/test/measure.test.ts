import { writeFile } from "node:fs/promises";
import { hex } from "@dstack/core";
import { replayEventLog } from "@dstack/attestation";
import { expectedMeasurements } from "@dstack/tdx-attest";
import { describe, expect, it } from "vitest";
import { startLog, writeTdxImage } from "../../../packages/tdx-attest/test/fixtures/tdx-image.js";
import { Machine } from "./cli.js";

async function site(): Promise<{ machine: Machine; image: string; log: string; rtmr0: string }> {
  const machine = await Machine.start();
  const image = await writeTdxImage(machine.path("image"));
  const events = await startLog(image, { memoryMib: 1024 });
  const log = machine.path("log.json");
  await writeFile(log, JSON.stringify(events));
  return { machine, image, log, rtmr0: hex(replayEventLog(events)[0] ?? new Uint8Array()) };
}

describe("tdxctl measure", () => {
  it("prints the registers of an image, and says what it does not know", async () => {
    const { machine, image } = await site();
    const { code, text } = await machine.run(["measure", image, "--memory", "2048"]);
    const { mrtd, rtmr1, rtmr2 } = await expectedMeasurements(image);
    expect(code).toBe(0);
    expect(text.split("\n")).toEqual([
      `mrtd   ${mrtd}`,
      "rtmr0  unknown",
      `rtmr1  ${rtmr1}`,
      `rtmr2  ${rtmr2}`,
      "acpi: unknown; give the log of a VM of this shape to have rtmr0",
      "memory: 2048 MiB",
      "",
    ]);
  });

  it("has RTMR0 with the log of such a TD, and the same as JSON", async () => {
    const { machine, image, log, rtmr0 } = await site();
    const { text } = await machine.run(["measure", image, "--log", log]);
    expect(text).toContain(`rtmr0  ${rtmr0}\n`);
    expect(text).toContain("acpi: taken from the log\nmemory: 1024 MiB, taken from the log\n");
    const answer = await machine.json(["measure", image, "--log", log]);
    expect(answer).toMatchObject({ rtmr0, acpi: "log", memory: "log", memoryMib: 1024 });
  });

  it.each<[string[], RegExp]>([
    [["--memory", "two"], /--memory must be a whole number of MiB/],
    [["--memory", "8"], /has not the memory that this firmware needs/],
    [["--qemu", "7"], /no TDX in QEMU "7"/],
    [["--log", "/nonexistent/log"], /nonexistent/],
  ])("refuses %j in one sentence, with exit code 1", async (options, sentence) => {
    const { machine, image } = await site();
    const { code, text, stderr } = await machine.run(["measure", image, ...options]);
    expect([code, text]).toEqual([1, ""]);
    expect(stderr).toMatch(sentence);
  });

  it("refuses a log of the simulated platform: its registers are others", async () => {
    const { machine, image } = await site();
    await writeFile(machine.path("simulated.json"), JSON.stringify(await machine.provider.bootEvents()));
    const { code, stderr } = await machine.run(["measure", image, "--log", machine.path("simulated.json")]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/another platform/);
  });

  it("ends with 2 without an image", async () => {
    const { machine } = await site();
    expect((await machine.run(["measure"])).code).toBe(2);
  });
});
