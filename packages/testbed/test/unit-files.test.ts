import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, realpath, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const UNITS = fileURLToPath(new URL("../../../scripts/units", import.meta.url));
const NAMES = ["certbot", "ct-monitor", "kms", "teepod", "tproxy"];

describe.skipIf(!existsSync("/usr/bin/systemd-analyze"))("the units that are shipped", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await realpath(await mkdtemp(join(homedir(), ".units-")));
    await execa(UNITS, [dir]);
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it.each(NAMES)("dstack-%s is one that systemd takes without a word", { timeout: 60_000 }, async (name) => {
    const unit = join(dir, "systemd", `dstack-${name}.service`);
    const { exitCode, all } = await execa("systemd-analyze", ["verify", unit], { all: true, reject: false });
    expect(all).toBe("");
    expect(exitCode).toBe(0);
  });

  it("reload tproxy's certificate by SIGHUP", async () => {
    const unit = await readFile(join(dir, "systemd", "dstack-tproxy.service"), "utf8");
    expect(unit).toMatch(/^ExecReload=kill -HUP \$MAINPID$/m);
  });

  it("are all there, and the places they write to", async () => {
    expect(await readdir(join(dir, "systemd"))).toEqual(NAMES.map((name) => `dstack-${name}.service`));
    expect((await stat(join(dir, "run", "certbot"))).isDirectory()).toBe(true);
  });

  it.each(["$HOME", "it's", "a b", "50%", "a|b"])(
    "are not written for a path with %s in it",
    async (name) => {
      const odd = join(dir, name);
      await execa("mkdir", [odd]);
      const { exitCode, stderr } = await execa(UNITS, [odd], { reject: false });
      expect([exitCode, stderr]).toEqual([2, expect.stringContaining("may only have letters")]);
      expect(await readdir(odd)).toEqual([]);
    },
  );

  it("are written one by one where only one is wanted", async () => {
    const alone = join(dir, "alone");
    await execa("mkdir", [alone]);
    await execa(UNITS, [alone, "ct-monitor"]);
    expect(await readdir(join(alone, "systemd"))).toEqual(["dstack-ct-monitor.service"]);
    expect((await execa(UNITS, [alone, "../etc"], { reject: false })).exitCode).toBe(2);
  });
});
