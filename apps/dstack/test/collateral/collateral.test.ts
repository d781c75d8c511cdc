import {
  SimulatedPlatform,
  bareLaunch,
  createSimulatedProvider,
  startSimulatedPcs,
} from "@dstack/tdx-attest";
import type { SimulatedPcs } from "@dstack/tdx-attest";
import { hex } from "@dstack/core";
import { Command } from "commander";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { describeCollateral, formatPlatform } from "../../src/collateral/describe.js";
import { registerCollateral } from "../../src/commands/collateral.js";

/** 2026-06-01T00:00:00Z */
const NOW = 1780272000;
const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(3));
const anchors = [{ kind: "simulated", sha256: platform.rootSha256 }] as const;

describe("describeCollateral", () => {
  const good = platform.collateral(NOW);

  it("tells numbers, dates and the first end", () => {
    const report = describeCollateral(good, anchors, NOW);
    expect(report).toMatchObject({
      root: { kind: "simulated", sha256: platform.rootSha256 },
      fmspc: "FF53494D0000",
      ca: "platform",
      expires: { at: "2026-06-30T00:00:00Z" },
    });
    expect(report.refused).toBeUndefined();
    expect(report.documents.map(({ name, number }) => [name, number])).toEqual([
      ["TCB info", "18"],
      ["QE identity", "18"],
      ["PCK CRL", "20622"],
      ["root CRL", "20622"],
    ]);
    expect(formatPlatform(report)).toContain(
      "TCB info     18      2026-05-31T00:00:00Z  2026-06-30T00:00:00Z",
    );
  });

  it("E8: says which check fails at that time", () => {
    expect(describeCollateral(good, anchors, NOW + 40 * 86_400).refused).toMatch(
      /was valid until 2026-06-30/,
    );
    expect(describeCollateral(good, anchors, NOW - 3 * 86_400).refused).toMatch(
      /not valid before 2026-05-31/,
    );
  });

  it("shows what nobody trusts, and says so", () => {
    const report = describeCollateral(good, [], NOW);
    expect(report).toMatchObject({ root: { kind: "untrusted" }, fmspc: "FF53494D0000" });
    expect(formatPlatform(report)).toMatch(/REFUSED: its root is not trusted/);
  });

  it("says what is wrong with what cannot be read", () => {
    const forged = { ...good, qe_identity: good.qe_identity.replace("TD_QE", "TD_QX") };
    expect(describeCollateral(forged, anchors, NOW)).toMatchObject({
      documents: [],
      refused: "the QE identity is not signed by its signer",
    });
    expect(describeCollateral({ ...good, pck_crl_issuer_chain: "" }, anchors, NOW).refused).toBeDefined();
  });
});

describe("dstack collateral", () => {
  let dir: string;
  let pcs: SimulatedPcs;
  let root: string;
  let printed = "";

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "dstack-collateral-"));
    pcs = await startSimulatedPcs({ platform });
    root = join(dir, "root.pem");
    await writeFile(root, platform.rootCertificatePem);
    printed = "";
    vi.spyOn(process.stdout, "write").mockImplementation((text) => {
      printed += String(text);
      return true;
    });
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    await pcs[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  async function run(...args: string[]): Promise<void> {
    const program = new Command("dstack").option("--json").exitOverride();
    registerCollateral(program);
    for (const command of program.commands.flatMap((one) => [one, ...one.commands])) {
      command.exitOverride().configureOutput({ writeErr: () => {} });
    }
    await program.parseAsync(["node", "dstack", ...args]);
  }
  const fetchArgs = (...args: string[]): string[] => {
    const common = ["--url", pcs.url, "--simulated-root", root, "-o", join(dir, "bundle.json")];
    return ["collateral", "fetch", ...common, ...args];
  };

  it("fetches by FMSPC and shows what it got", async () => {
    await run(...fetchArgs("--fmspc", "ff53494d0000", "--ca", "platform"));
    expect(JSON.parse(await readFile(join(dir, "bundle.json"), "utf8"))).toMatchObject({
      pck_crl: expect.any(String),
    });
    expect(printed).toContain("FMSPC FF53494D0000, PCKs of the Platform CA, vouched for by simulated");
    printed = "";
    await run("--json", "collateral", "show", join(dir, "bundle.json"), "--simulated-root", root);
    const report = JSON.parse(printed) as { platforms: object[] };
    expect(report.platforms).toMatchObject([{ fmspc: "FF53494D0000", ca: "platform" }]);
    expect(process.exitCode).toBeUndefined();
  });

  it("fetches by a quote, each platform once", async () => {
    const provider = createSimulatedProvider({ platform, launch: bareLaunch("collateral") });
    const quote = await provider.getQuote(new Uint8Array(64));
    await writeFile(join(dir, "quote.bin"), quote);
    await writeFile(join(dir, "quote.json"), JSON.stringify({ quote: hex(quote), event_log: "[]" }));
    await run(...fetchArgs("--quote", join(dir, "quote.bin"), "--quote", join(dir, "quote.json")));
    expect(JSON.parse(await readFile(join(dir, "bundle.json"), "utf8"))).not.toBeInstanceOf(Array);
  });

  it("E8: exit code 1 for a bundle that is not good at that time, or not trusted", async () => {
    await run(...fetchArgs("--fmspc", "ff53494d0000", "--ca", "platform"));
    await run(
      "collateral",
      "show",
      join(dir, "bundle.json"),
      "--simulated-root",
      root,
      "--at",
      "2099-01-01T00:00:00Z",
    );
    expect(printed).toMatch(/REFUSED: the .* was valid until/);
    expect(process.exitCode).toBe(1);
    process.exitCode = undefined;
    await run("collateral", "show", join(dir, "bundle.json"));
    expect(process.exitCode).toBe(1);
    process.exitCode = undefined;
    const none = run("collateral", "show", "/etc/hostname");
    await expect(none).rejects.toMatchObject({ exitCode: 2, message: expect.stringMatching(/hostname: /) });
  });

  it.each<[string, string[], RegExp]>([
    ["nothing to fetch", [], /give --quote <file>, or --fmspc/],
    ["an FMSPC without a CA", ["--fmspc", "ff53494d0000"], /give --ca platform/],
    ["an FMSPC that is none", ["--fmspc", "xyz", "--ca", "platform"], /must be 12 hex digits/],
    [
      "an unknown platform",
      ["--fmspc", "00906ed50000", "--ca", "platform"],
      /no such document: \?fmspc=00906ed50000/,
    ],
    ["a quote that is none", ["--quote", "/etc/hostname"], /hostname: /],
    ["an address that is none", ["--url", "pccs.example.org"], /must be a URL/],
    [
      "a place that is not there, before it asks",
      ["--fmspc", "ff53494d0000", "--ca", "platform", "-o", "/nowhere/x.json"],
      /there is no directory \/nowhere/,
    ],
    [
      "TLS roots that are none, before it asks",
      ["--fmspc", "ff53494d0000", "--ca", "platform", "--tls-ca", "/etc/hostname"],
      /hostname is not a certificate in PEM/,
    ],
    ["a root that is none", ["--simulated-root", "/etc/hostname"], /--simulated-root \/etc\/hostname: /],
  ])("refuses %s and writes nothing", async (_what, args, message) => {
    await expect(run(...fetchArgs(...args))).rejects.toThrow(message);
    await expect(readFile(join(dir, "bundle.json"))).rejects.toThrow(/ENOENT/);
  });

  it("E10: writes nothing that only an unnamed simulator vouches for", async () => {
    const args = ["collateral", "fetch", "--url", pcs.url, "-o", join(dir, "bundle.json")];
    await expect(run(...args, "--fmspc", "ff53494d0000", "--ca", "platform")).rejects.toThrow(/not genuine/);
    await expect(readFile(join(dir, "bundle.json"))).rejects.toThrow(/ENOENT/);
  });
});
