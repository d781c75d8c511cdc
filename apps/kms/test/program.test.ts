import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startSimulatedPcs } from "@dstack/tdx-attest";
import type { SimulatedPcs } from "@dstack/tdx-attest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../../packages/core/test/support/ports.js";
import { startKms } from "../src/index.js";
import type { Kms } from "../src/index.js";
import { anonymousClient, bootGuest, callRaw, guestClient, install, launch, platform } from "./guest.js";
import type { Installation } from "./guest.js";
import { tempDir } from "./temp.js";

const run = promisify(execFile);
const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
const node = ["--import", "tsx", main];

let dir: string;
let pcs: SimulatedPcs;

/** `kms.toml` around what `kms init` made. JSON text is TOML text, for strings and lists of strings. */
function toml(changes = ""): string {
  const file = (name: string): string => JSON.stringify(join(dir, name));
  const registers = (["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const).map((r) => `${r} = "${launch[r]}"`);
  return `host = "127.0.0.1"
port = 0
${changes}
[tls]
key = ${file("certs/server.key")}
certs = ${file("certs/server.pem")}
[core]
root_ca_cert = ${file("certs/root-ca.pem")}
root_ca_key = ${file("certs/root-ca.key")}
cert_log_dir = ${file("log")}
upgrade_registry_dir = ${file("upgrades")}
[attestation]
pccs_url = "${pcs.url}"
insecure_simulated_roots = [${file("simulated-root.pem")}]
collateral_cache_dir = ${file("collateral")}
[[attestation.images.allowed]]
name = "tests"
${registers.join("\n")}
`;
}

interface Running {
  readonly child: ChildProcess;
  readonly lines: Record<string, unknown>[];
  readonly kms: Kms;
}

/** Starts the program and waits until it serves. */
async function startProgram(): Promise<Running> {
  const child = spawn(process.execPath, [...node, "-c", join(dir, "kms.toml")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: Record<string, unknown>[] = [];
  const reader = createInterface({ input: child.stdout });
  const url = await new Promise<string>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`kms ended with ${code}`)));
    reader.on("line", (text) => {
      const line = JSON.parse(text) as Record<string, unknown>;
      lines.push(line);
      if (line["msg"] === "kms is serving") resolve(String(line["url"]));
    });
  });
  const kms: Kms = {
    url,
    port: Number(new URL(url).port),
    grpcPort: undefined,
    adminUrl: undefined,
    [Symbol.asyncDispose]: async () => {},
  };
  return { child, lines, kms };
}

async function end(running: Running, signal: NodeJS.Signals): Promise<number | null> {
  const exited = once(running.child, "exit");
  running.child.kill(signal);
  const [code] = (await exited) as [number | null];
  return code;
}

beforeAll(async () => {
  dir = await tempDir();
  pcs = await startSimulatedPcs({ platform });
  await writeFile(join(dir, "simulated-root.pem"), platform.rootCertificatePem);
  await run(process.execPath, [
    ...node,
    "init",
    "--dir",
    join(dir, "certs"),
    "--alt-name",
    "127.0.0.1,10.0.2.2",
  ]);
  await writeFile(join(dir, "kms.toml"), toml());
});
afterAll(async () => {
  await pcs[Symbol.asyncDispose]();
});

describe("the kms program", () => {
  it("logs from the configured level on", async () => {
    const port = await freePort();
    const config = toml('log_level = "warn"').replace("port = 0", `port = ${port}`);
    await writeFile(join(dir, "quiet.toml"), config);
    const child = spawn(process.execPath, [...node, "-c", join(dir, "quiet.toml")], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      let logged = "";
      child.stdout.on("data", (chunk: Buffer) => (logged += String(chunk)));
      const caPem = await readFile(join(dir, "certs", "root-ca.pem"), "utf8");
      const health = () =>
        callRaw({ url: `https://127.0.0.1:${port}` }, caPem, "/healthz").catch(() => undefined);
      await expect.poll(async () => (await health())?.status).toBe(200);
      expect(logged).toContain('"level":40');
      expect(logged).not.toContain('"level":30');
    } finally {
      child.kill("SIGKILL");
    }
  });

  it("releases keys with fetched collateral, is loud about what is insecure, and survives kill -9", async () => {
    const caPem = await readFile(join(dir, "certs", "root-ca.pem"), "utf8");
    const installation = { caPem } as Installation;
    const guest = await bootGuest({ caPem });
    const first = await startProgram();
    try {
      await using client = await guestClient(installation, first.kms, guest);
      const keys = await client.getAppKey();
      expect(first.lines).toContainEqual(
        expect.objectContaining({ level: 40, insecure_simulated_roots: [platform.rootSha256] }),
      );
      await using anonymous = anonymousClient(installation, first.kms);
      expect((await anonymous.getMeta()).allowedMrs).toEqual(
        expect.arrayContaining([
          `insecure_simulated_root ${platform.rootSha256}`,
          expect.stringContaining(`image "tests" mrtd ${launch.mrtd} rtmr0 ${launch.rtmr0}`),
        ]),
      );
      const { body: metrics } = await callRaw(first.kms, caPem, "/metrics");
      expect(metrics).toContain("kms_insecure_simulated_roots 1");
      expect(metrics).toContain('kms_app_keys_released_total{anchor="simulated"} 1');
      expect(metrics).toContain('attestation_collateral_events_total{kind="fetched"} 1');
      expect(metrics).toContain('attestation_collateral_events_total{kind="rolled_back"} 0');
      expect((await callRaw(first.kms, caPem, "/healthz")).status).toBe(200);

      expect(await end(first, "SIGKILL")).toBeNull();
      // K4: neither keys nor PEM in any line of the log.
      expect(JSON.stringify(first.lines)).not.toMatch(/PRIVATE KEY/);
      const second = await startProgram();
      try {
        await using again = await guestClient(installation, second.kms, guest);
        expect((await again.getAppKey()).appKey).toBe(keys.appKey);
        const log = (await readFile(join(dir, "log", "issued.log"), "utf8")).split("\n").slice(0, -1);
        expect(log.length).toBe(2);
      } finally {
        expect(await end(second, "SIGTERM")).toBe(0);
      }
    } finally {
      first.child.kill("SIGKILL");
    }
  });

  it("names an unknown key and ends with 1", async () => {
    const path = join(dir, "wrong.toml");
    await writeFile(path, toml("allow_everything = true"));
    await expect(run(process.execPath, [...node, "-c", path])).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('unknown key "allow_everything"') as unknown,
    });
  });

  it("E9: ends with 1 when the allow-list is empty", async () => {
    const path = join(dir, "empty.toml");
    await writeFile(path, toml().replace(/\[\[attestation.images.allowed\]\][^]*/, ""));
    await expect(run(process.execPath, [...node, "-c", path])).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining("allow_all = true") as unknown,
    });
  });

  it("K4: init never overwrites and ends with 2", async () => {
    await expect(run(process.execPath, [...node, "init", "--dir", join(dir, "certs")])).rejects.toMatchObject(
      {
        code: 2,
        stderr: expect.stringContaining("never overwrites") as unknown,
      },
    );
  });

  it("issues another daemon's certificate from the command line", async () => {
    const out = ["--out-cert", join(dir, "tproxy.pem"), "--out-key", join(dir, "tproxy.key")];
    await run(process.execPath, [
      ...node,
      "issue-server-cert",
      "--dir",
      join(dir, "certs"),
      ...out,
      "--alt-name",
      "10.0.2.2",
    ]);
    expect(await readFile(join(dir, "tproxy.pem"), "utf8")).toContain("BEGIN CERTIFICATE");
  });
});

describe("startKms", () => {
  it("serves gRPC beside pRPC where a port is given", async () => {
    const installation = await install();
    await using server = await startKms({ ...installation.config, grpc_port: 0 });
    expect(server.grpcPort).toBeGreaterThan(0);
  });
});
