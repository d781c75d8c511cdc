import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parseQuote } from "@dstack/attestation";
import { hex } from "@dstack/core";
import { SimulatedPlatform, SimulatorClient, bareLaunch } from "@dstack/tdx-attest";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { parseSimulatorFile } from "../src/simulator-file.js";

const seed = "ab".repeat(32);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("parseSimulatorFile", () => {
  it("reads the host share's simulator.json and a file with a seed", () => {
    const launch = bareLaunch("an image");
    expect(parseSimulatorFile(bytes(JSON.stringify({ seed, launch })))).toEqual({
      seed: new Uint8Array(32).fill(0xab),
      launch,
    });
    expect(parseSimulatorFile(bytes(`${seed}\n`))).toEqual({
      seed: new Uint8Array(32).fill(0xab),
      launch: undefined,
    });
  });

  it.each([
    "",
    "{",
    "ab".repeat(31),
    JSON.stringify({ seed: "ab" }),
    JSON.stringify({ seed, more: 1 }),
    JSON.stringify({ seed, launch: { mrtd: "00" } }),
  ])("G1: refuses %j without showing the seed", (text) => {
    expect(() => parseSimulatorFile(bytes(text))).toThrow(/the simulator's file/);
    try {
      parseSimulatorFile(bytes(text));
    } catch (err) {
      expect(String(err)).not.toContain(seed);
    }
  });
});

describe("the bundles", () => {
  let dir = "";
  const bundle = (name: string): string => join(dir, `${name}.mjs`);
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "tdxctl-bundle-"));
    const app = fileURLToPath(new URL("..", import.meta.url));
    const script = join(app, "../../scripts/bundle.mjs");
    for (const [entry, out] of [
      ["main", "tdxctl"],
      ["simulator", "simulator"],
    ] as const) {
      await promisify(execFile)(process.execPath, [script, join(app, `src/${entry}.ts`), bundle(out)], {
        cwd: app,
      });
    }
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it("E10: only the simulator's holds the simulated platform", async () => {
    const marker = "NOT HARDWARE";
    expect(await readFile(bundle("simulator"), "utf8")).toContain(marker);
    expect(await readFile(bundle("tdxctl"), "utf8")).not.toContain(marker);
  });

  it("the simulator serves the registers of its file until it is told to stop", async () => {
    const [file, socket] = [join(dir, "simulator.json"), join(dir, "sim.sock")];
    const launch = bareLaunch("an image");
    await writeFile(file, JSON.stringify({ seed, launch }));
    const child = spawn(process.execPath, [bundle("simulator"), file, socket], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(child, "exit");
    onTestFinished(() => void child.kill("SIGKILL"));
    let output = "";
    await new Promise<void>((resolve) => {
      child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
        output += chunk;
        if (output.includes("\n")) resolve();
      });
    });
    const { rootSha256 } = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(0xab));
    expect(output).toContain(rootSha256);
    expect(output).not.toContain(seed);
    const quote = parseQuote(await new SimulatorClient(socket).getQuote(new Uint8Array(64)));
    expect(hex(quote.body.mrTd)).toBe(launch.mrtd);

    const tdxctl = await promisify(execFile)(process.execPath, [
      bundle("tdxctl"),
      "show",
      "--simulator-socket",
      socket,
    ]);
    expect(tdxctl.stdout).toContain(launch.rtmr1);
    child.kill("SIGTERM");
    expect(await exited).toEqual([0, null]);
  });

  it("tdxctl says in one sentence that there is no TDX", async () => {
    const args = [bundle("tdxctl"), "show", "--simulator-socket", join(dir, "none.sock")];
    await expect(promisify(execFile)(process.execPath, args)).rejects.toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^tdxctl: no TDX here: .*\n$/) as string,
    });
  });
});
