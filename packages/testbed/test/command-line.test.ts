import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { ResourceStack } from "@dstack/daemon";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { dstack } from "../../../apps/dstack/test/fake-teepod.js";
import { TEEPOD_TOKEN, Testbed } from "../src/index.js";

const run = promisify(execFile);
const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));

/** The daemons are the real ones; only the VM and the CPU's signature are stood in for. */
describe("an app's life on the command line", () => {
  const stack = new ResourceStack();
  let net: Testbed;
  let dir: string;
  beforeAll(async () => {
    net = stack.use(await Testbed.start());
    dir = await mkdtemp(join(tmpdir(), "dstack-walk-"));
    stack.defer(() => rm(dir, { recursive: true }));
  });
  afterAll(() => stack[Symbol.asyncDispose]());

  /** A command with `--json`: its one answer. */
  async function ask(...args: string[]): Promise<Record<string, string>> {
    const out = await dstack(...args, "--host", net.teepodDaemon.url, "--token", TEEPOD_TOKEN, "--json");
    return JSON.parse(out) as Record<string, string>;
  }

  it("K2, K7: deploy with a secret, open the app, logs, upgrade refused, allow, upgraded, another secret, stop, remove", async () => {
    const file = join(dir, "docker-compose.yaml");
    await writeFile(file, "services:\n  web:\n    image: hello\n    environment: [GREETING]\n");
    const ca = ["--kms-ca", net.path("kms", "root-ca.pem")];
    const deployed = await ask(
      "deploy",
      file,
      "--name",
      "hello",
      "--env",
      "GREETING=s3cret",
      ...ca,
      "--wait",
    );
    const { id = "", app_id: appId = "" } = deployed;
    expect(await net.fetch(appId)).toEqual({ status: 200, body: "hello from hello" });
    const text = await dstack("logs", id, "--host", net.teepodDaemon.url, "--token", TEEPOD_TOKEN);
    expect(text).not.toBe("");
    expect(text).not.toContain("s3cret");

    await writeFile(file, "services:\n  web:\n    image: hello:2\n    environment: [GREETING]\n");
    const { upgraded_app_id: upgraded = "", allow_command: allow = "" } = await ask("upgrade", "hello", file);
    await ask("stop", "hello");
    await ask("start", "hello");
    expect((await net.settled(id)).bootError).toMatch(/upgrade|not allowed/i);
    // What was printed, where build.sh puts the script and the KMS's configuration.
    const build = join(dir, "build");
    await mkdir(build);
    await copyFile(join(REPOSITORY, "scripts/kms-allow-upgrade.sh"), join(build, "kms-allow-upgrade.sh"));
    const registry = net.path("kms", "upgrades");
    await writeFile(join(build, "kms.toml"), `[core]\nupgrade_registry_dir = "${registry}"\n`);
    await run("sh", ["-c", allow], { cwd: build });
    await ask("stop", "hello", "--force");
    await ask("start", "hello");
    expect((await net.settled(id)).bootProgress).toMatch(/^ready/);
    expect(await net.fetch(appId)).toMatchObject({ status: 200 });

    // One variable changes, the other stays; only the guest ever has them in clear.
    const env = join(dir, "prod.env");
    await writeFile(env, "GREETING=s3cret\n");
    await ask("env", "set", "hello", "GREETING=s3cond", "--env-file", env, "--app-id", appId, ...ca);
    await ask("restart", "hello", "--wait");
    expect(net.hypervisor.guests.get(id)?.environment).toEqual({ GREETING: "s3cond" });

    // What is public changes with the compose file as it is: another document, of which the KMS has to be told too (G8).
    const opened = await ask("upgrade", "hello", file, "--public-logs", "--no-public-sysinfo");
    expect(opened["upgraded_app_id"]).not.toBe(upgraded);
    await ask("restart", "hello");
    expect((await net.settled(id)).bootError).toMatch(/upgrade|not allowed/i);
    await run("sh", ["-c", opened["allow_command"] ?? ""], { cwd: build });
    await ask("restart", "hello", "--wait", "--force");
    expect(net.hypervisor.guests.get(id)?.environment).toEqual({ GREETING: "s3cond" });

    const address = ["--host", net.teepodDaemon.url, "--token", TEEPOD_TOKEN];
    expect(await dstack("boot", "hello", ...address)).toContain("ready");
    const shown = { id, compose_hash: expect.stringContaining(opened["upgraded_app_id"] ?? "none") };
    expect(await ask("show", "hello")).toMatchObject(shown);
    expect(JSON.parse(await dstack("compose", "hello", ...address))).toMatchObject({
      public_logs: true,
      public_sysinfo: false,
      allowed_envs: ["GREETING"],
    });
    expect(Number((await ask("audit", "verify"))["entries"])).toBeGreaterThan(10);
    expect(await ask("stop", "hello")).toMatchObject({ id, status: "stopped" });
    expect(await ask("rm", "hello")).toMatchObject({ id, removed: true });
    expect((await net.teepod.status({})).vms).toEqual([]);
  });
});
