import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PolicyConfig, replayEventLog } from "@dstack/attestation";
import type { EventLogEntry } from "@dstack/attestation";
import { hex } from "@dstack/core";
import { AttestationConfig } from "@dstack/ra-tls";
import { expectedMeasurements } from "@dstack/tdx-attest";
import { parse as parseToml } from "smol-toml";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { startLog, writeTdxImage } from "../../../packages/tdx-attest/test/fixtures/tdx-image.js";
import { createProgram } from "../src/program.js";

let dir: string;
let image: string;
let log: EventLogEntry[];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-measure-"));
  image = await writeTdxImage(join(dir, "dstack-test"));
  log = await startLog(image);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function file(name: string, content: unknown): Promise<string> {
  await writeFile(join(dir, name), typeof content === "string" ? content : JSON.stringify(content));
  return join(dir, name);
}

/** Runs `dstack measure` in this process; errors are thrown, as main() gets them. */
async function measure(...args: string[]): Promise<{ code: number; out: string }> {
  let out = "";
  const stdout = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
  try {
    await createProgram().parseAsync(["measure", ...args], { from: "user" });
    return { code: Number(process.exitCode ?? 0), out };
  } finally {
    stdout.mockRestore();
    process.exitCode = 0;
  }
}

describe("dstack measure", () => {
  it("prints the registers as text and as JSON", async () => {
    const measured = await expectedMeasurements(image, { memoryMib: 2048 }, log);
    const given = [image, "--memory", "2048", "--log", await file("log.json", log)];
    const { code, out } = await measure(...given);
    expect(code).toBe(0);
    expect(out).toBe(
      `mrtd   ${measured.mrtd}\nrtmr0  ${measured.rtmr0}\nrtmr1  ${measured.rtmr1}\nrtmr2  ${measured.rtmr2}\n` +
        "acpi: taken from the log\nmemory: 2048 MiB\n",
    );
    expect(JSON.parse((await measure("--json", ...given)).out)).toEqual(measured);
  });

  it.each([
    ["no", "any"],
    ["a", "pinned"],
  ])("E9: prints a policy entry that daemons take, with %s log", async (_, kind) => {
    const options = kind === "any" ? [] : ["--log", await file("log.json", log)];
    const { out } = await measure(image, "--policy", ...options);
    expect(out).toMatch(kind === "any" ? /^# rtmr0 depends on/ : /^# rtmr0 holds for this shape/);
    const { attestation } = parseToml(out) as { attestation: { images: unknown } };
    const { images } = PolicyConfig.parse(attestation);
    const { mrtd, rtmr1, rtmr2 } = await expectedMeasurements(image);
    const rtmr0 = kind === "any" ? "any" : [hex(replayEventLog(log)[0] ?? new Uint8Array())];
    expect(images.allowed).toEqual([{ name: "dstack-test", mrtd, rtmr0, rtmr1, rtmr2 }]);
    expect(AttestationConfig.parse(attestation).images).toEqual(images);
    const json = JSON.parse((await measure("--json", image, "--policy", ...options)).out) as unknown;
    expect(json).toEqual(images.allowed[0]);
  });

  it("explains nothing where nothing differs: exit code 0", async () => {
    const { code, out } = await measure(image, "--explain", await file("log.json", log));
    expect(code).toBe(0);
    expect(out).toMatch(/memory: 2048 MiB, taken from the log\nno difference\n$/);
  });

  it("explains the first difference with exit code 1, as text and as JSON", async () => {
    const other = await writeTdxImage(join(dir, "other"), { cmdline: "console=ttyS0 init=/bin/sh" });
    const explain = ["--explain", await file("other.json", await startLog(other))];
    const { code, out } = await measure(image, ...explain);
    expect(code).toBe(1);
    expect(out).toMatch(
      /^RTMR2 event 1: the command line differs: .*\n {2}expected [0-9a-f]{96}\n {2}found {4}[0-9a-f]{96}\n$/,
    );
    const json = await measure("--json", image, ...explain);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.out)).toMatchObject({ difference: { register: "RTMR2", event: 1 } });
  });

  it.each<[string, string[], RegExp]>([
    ["no image", ["/proc/none"], /^\/proc\/none is not the directory of a guest image/],
    ["no log", ["IMAGE", "--log", "/proc/none"], /^there is no file \/proc\/none/],
    ["a size that is none", ["IMAGE", "--memory", "2G"], /whole number from 1 to 1048576/],
    ["QEMU without TDX", ["IMAGE", "--qemu", "7.2"], /no TDX in QEMU "7.2"/],
    ["a log that is none", ["IMAGE", "--log", "TEXT"], /text is no event log .*Spec ID/],
    ["RTMR1 that nobody knows", ["IMAGE", "--policy", "--qemu", "9.2"], /give --memory or --log/],
  ])("fails on %s", async (_, args, sentence) => {
    const text = await file("text", "x".repeat(100));
    const given = args.map((arg) => (arg === "IMAGE" ? image : arg === "TEXT" ? text : arg));
    const program = measure(...given);
    await expect(program).rejects.toThrow(sentence);
    // 1 is for a difference. What commander refuses is 2 in any case.
    await expect(program).rejects.toMatchObject({
      exitCode: args.includes("2G") ? expect.any(Number) : 2,
    });
  });
});
