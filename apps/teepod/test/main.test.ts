import { execFile } from "node:child_process";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleTeepod, startChild, writeConfig } from "./helpers/program.js";
import type { Child } from "./helpers/program.js";
import { Site, client, vmRequest } from "./helpers/testpod.js";

const run = promisify(execFile);

describe("the teepod program", () => {
  let program: string;
  beforeAll(async () => {
    program = await bundleTeepod();
  });
  afterAll(() => rm(dirname(program), { recursive: true, force: true }));

  it("probes and prints the acceleration and why", async () => {
    await using site = await Site.make();
    const fixed = await writeConfig(join(site.dir, "fixed.toml"), site.config());
    expect((await run(process.execPath, [program, "probe", "-c", fixed])).stdout).toBe(
      'tcg\nthe configuration says accel = "tcg"\n',
    );
    const auto = await writeConfig(join(site.dir, "auto.toml"), site.config({}, { accel: "auto" }));
    const { stdout } = await run(process.execPath, [program, "-c", auto, "probe"]);
    expect(stdout).toMatch(/^(?:tdx|kvm|tcg)\n.+\n$/);
  });

  it("serves, its dashboard included, until it is told to stop", async () => {
    await using site = await Site.make();
    const child = await startChild(program, await writeConfig(join(site.dir, "teepod.toml"), site.config()));
    expect((await fetch(`${child.url}/healthz`)).status).toBe(200);
    const page = await (await fetch(child.url)).text();
    const script = /src="(\/assets\/[^"]+\.js)"/.exec(page)?.[1] ?? "";
    expect((await fetch(`${child.url}${script}`)).headers.get("content-type")).toContain("javascript");
    const code = new Promise((resolve) => child.process.once("exit", resolve));
    child.process.kill("SIGTERM");
    expect(await code).toBe(0);
  });

  /** teepod with one MB of disk, in a mount namespace of its own; `undefined` where that is not allowed. */
  async function startOnSmallDisk(site: Site): Promise<Child | undefined> {
    await mkdir(site.runPath);
    const mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"';
    const small = ["unshare", "-m", "sh", "-c", mount, site.runPath];
    const allowed = await run(small[0] ?? "", [...small.slice(1), "true"]).catch(() => undefined);
    if (allowed === undefined) return undefined;
    const config = site.config({}, { min_free_disk_mb: 0 });
    return startChild(program, await writeConfig(join(site.dir, "teepod.toml"), config), small);
  }

  it("says that the disk is full when it is, and leaves nothing half-made", async (context) => {
    await using site = await Site.make();
    const child = await startOnSmallDisk(site);
    if (child === undefined) return context.skip("mounting a small tmpfs is not allowed here");
    try {
      const encryptedEnv = new Uint8Array(700_000).fill(1);
      await expect(client(child).createVm(vmRequest({ encryptedEnv }))).rejects.toMatchObject({
        code: "unavailable",
        message: "the host's disk is full",
      });
      expect((await client(child).status()).vms).toEqual([]);
      // What was staged is gone again: a smaller one fits.
      const { id } = await client(child).createVm(vmRequest());
      await client(child).stopVm({ id });
    } finally {
      await child.kill();
    }
  });

  it("T3: a guest that has filled the disk can be stopped and removed, and that stands in the audit log", async (context) => {
    await using site = await Site.make();
    const child = await startOnSmallDisk(site);
    if (child === undefined) return context.skip("mounting a small tmpfs is not allowed here");
    try {
      const runPath = `/proc/${child.process.pid}/root${site.runPath}`;
      const { id } = await client(child).createVm(vmRequest());
      await expect(writeFile(join(runPath, "filler"), Buffer.alloc(2 ** 20))).rejects.toMatchObject({
        code: "ENOSPC",
      });
      const before = await stat(join(runPath, "audit.log"));
      // More lines than fit into the block the log has begun.
      while ((await stat(join(runPath, "audit.log"))).size < before.size + 8192) {
        await client(child).stopVm({ id });
      }
      await client(child).removeVm({ id });
      const lines = (await readFile(join(runPath, "audit.log"), "utf8")).trimEnd().split("\n");
      expect(lines.map((line) => JSON.parse(line.slice(65)) as object).at(-1)).toMatchObject({
        method: "RemoveVm",
        outcome: "done",
      });
    } finally {
      await child.kill();
    }
  });

  it("names what is wrong with its configuration", async () => {
    await using site = await Site.make();
    const config = {
      ...site.config(),
      image_paths: "x",
      port_mapping: { ranges: [{ protocol: "tcp", from: 9, to: 1 }] },
    };
    const path = await writeConfig(join(site.dir, "teepod.toml"), config as never);
    const failed = await run(process.execPath, [program, "-c", path]).catch(
      (err: { code: number; stderr: string }) => err,
    );
    expect(failed).toMatchObject({ code: 1 });
    expect(failed.stderr).toContain('unknown key "image_paths"');
    expect(failed.stderr).toContain(path);
  });
});
