import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { ResourceStack } from "@dstack/daemon";
import { SimulatorClient, startSimulatorService } from "@dstack/tdx-attest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import packageJson from "../package.json" with { type: "json" };
import { VERSION } from "../src/version.js";
import { configFile } from "./support/config-file.js";
import { curl, curlJson } from "./support/curl.js";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

const run = promisify(execFile);
/** What a guest may spend on its agent. */
const MAX_RESIDENT_MIB = 90;
const ROOT = new URL("../../../", import.meta.url).pathname;

const stack = new ResourceStack();
afterAll(() => stack[Symbol.asyncDispose]());

interface LogLine {
  msg: string;
  port?: number;
  tlsPort?: number;
}

describe("the bundled program, started as in the guest", () => {
  let tappdCommand: string[];
  let guest: Guest;
  let tappd: ChildProcess;
  let serving: LogLine;
  const lines: LogLine[] = [];

  beforeAll(async () => {
    const dir = await mkdtemp(join(tmpdir(), "tappd-bundle-"));
    stack.defer(() => rm(dir, { recursive: true, force: true }));
    tappdCommand = [join(dir, "start.cjs"), "tappd"];
    await copyFile(join(ROOT, "images/guest/files/usr/lib/dstack/start.cjs"), join(dir, "start.cjs"));
    const bundle = [join(ROOT, "apps/tappd/src/main.ts"), join(dir, "tappd.cjs")];
    await run("node", [join(ROOT, "scripts/bundle.mjs"), ...bundle]);
    const simulator = stack.use(
      await startSimulatorService({
        seed: new Uint8Array(32).fill(3),
        socketPath: join(dir, "simulator.sock"),
      }),
    );
    guest = stack.use(
      await bootGuest({
        provider: new SimulatorClient(simulator.socketPath),
        compose: { public_logs: true, public_sysinfo: true, public_tcbinfo: true },
      }),
    );
    const config = join(dir, "tappd.toml");
    tappd = spawn("node", [...tappdCommand, "--wait", "-c", config], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, MALLOC_ARENA_MAX: "1" }, // as tappd.service does
    });
    // The boot writes it while the program loads.
    await writeFile(`${config}.new`, configFile(guest.config, simulator.socketPath));
    await rename(`${config}.new`, config);
    stack.defer(() => tappd.kill("SIGKILL"));
    const output = createInterface({ input: tappd.stdout ?? process.stdin });
    serving = await new Promise((resolve, reject) => {
      output.on("line", (text) => {
        const line = JSON.parse(text) as LogLine;
        lines.push(line);
        if (line.msg === "tappd is serving") resolve(line);
      });
      tappd.once("exit", (code) => reject(new Error(`tappd exited with ${code}`)));
    });
  });

  it("serves on its sockets and ports", async () => {
    const url = "http://localhost/prpc/Tappd.TdxQuote?json";
    const answer = await curlJson(
      "--unix-socket",
      guest.config.sockets.tappd,
      "-d",
      '{"report_data":"00"}',
      url,
    );
    expect(answer).toHaveProperty("quote");
    const info = await curlJson(`http://127.0.0.1:${serving.port}/prpc/Worker.Info`);
    expect(info).toMatchObject({ app_id: guest.appId });
  });

  it("says in its log that the platform is simulated", () => {
    expect(lines.map((line) => line.msg)).toContainEqual(expect.stringContaining("simulated platform"));
  });

  it(`stays under ${MAX_RESIDENT_MIB} MiB after every kind of request`, async () => {
    const { dstack, tappd: socket } = guest.config.sockets;
    for (let round = 0; round < 30; round++) {
      for (const [path, body] of [
        ["GetQuote", '{"report_data":"00"}'],
        ["GetKey", '{"path":"a"}'],
        ["GetTlsKey", '{"usage_ra_tls":true}'],
        ["Sign", '{"algorithm":"secp256k1","data":"00"}'],
      ] as const) {
        const answer = await curl("--unix-socket", dstack, "-d", body, `http://localhost/${path}?json`);
        expect(answer.status).toBe(200);
      }
      await curl("--unix-socket", socket, "-d", "{}", "http://localhost/prpc/Tappd.DeriveKey?json");
      await curl(`http://127.0.0.1:${serving.port}/metrics`);
      for (const page of ["/", "/system", "/events", "/compose"])
        expect((await curl(`http://127.0.0.1:${serving.port}${page}`)).status).toBe(200);
      const containers = await curl(`http://127.0.0.1:${serving.port}/containers`);
      expect(containers.text).toContain("the container engine does not answer."); // its client is loaded all the same
    }
    const status = await readFile(`/proc/${tappd.pid}/status`, "utf8");
    const residentMib = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
    console.log(`tappd: ${residentMib.toFixed(0)} MiB resident`);
    expect(residentMib).toBeLessThan(MAX_RESIDENT_MIB);
  });

  it("ends with exit code 0 on SIGTERM", async () => {
    tappd.kill("SIGTERM");
    const [code] = (await once(tappd, "exit")) as [number | null];
    expect(code).toBe(0);
  });

  it("names a key it does not know and ends with exit code 1", async () => {
    const config = join(guest.dir, "bad.toml");
    await writeFile(config, '[core]\napp_compose_file = "x"\nsocket = "y"\n');
    const failed = await run("node", [...tappdCommand, "-c", config]).catch((err: unknown) => err);
    expect(failed).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('unknown key "core.socket"') as string,
    });
  });

  it("has the version of its package", async () => {
    const { stdout } = await run("node", [...tappdCommand, "--version"]);
    expect([stdout.trim(), VERSION]).toEqual([packageJson.version, packageJson.version]);
  });
});
