import { existsSync } from "node:fs";
import { mkdtemp, readFile, readdir, realpath, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { operatorConfigs } from "../../../apps/dstack/src/operator/configs.js";
import { readSettings } from "../../../apps/dstack/src/operator/settings.js";
import { exampleEnv } from "../../../apps/dstack/test/build-config.js";

const UNITS = fileURLToPath(new URL("../../../scripts/units", import.meta.url));
const NAMES = ["certbot", "ct-monitor", "kms", "teepod", "tproxy"];

/** Settings whose paths a daemon writes to, and those that it only reads: a new one belongs to one of them. */
const WRITTEN = [
  ...["cert_log_dir", "upgrade_registry_dir", "collateral_cache_dir", "state_dir", "state_file"],
  ...["run_path", "workdir", "private_key_file"],
];
const READ = [
  ...["key", "certs", "root_ca_cert", "root_ca_key", "insecure_simulated_roots", "acme_account_file"],
  ...["cert_chain", "cert_key", "token_file", "image_path", "ca_cert", "authorized_keys_file"],
  ...["simulator_seed_file", "tproxy_ca"],
];

/** Each absolute path in a configuration, with the setting it stands under. */
function paths(value: unknown, setting = ""): [setting: string, path: string][] {
  if (typeof value === "string") return value.startsWith("/") ? [[setting, value]] : [];
  if (Array.isArray(value)) return value.flatMap((item) => paths(item, setting));
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => paths(item, name));
}

describe.skipIf(!existsSync("/usr/bin/systemd-analyze"))("the units that are shipped", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await realpath(await mkdtemp(join(homedir(), ".units-")));
    await execa(UNITS, [dir]);
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  it.each(NAMES)("dstack-%s is one that systemd takes without a word", async (name) => {
    const unit = join(dir, "systemd", `dstack-${name}.service`);
    const { exitCode, all } = await execa("systemd-analyze", ["verify", unit], { all: true, reject: false });
    expect(all).toBe("");
    expect(exitCode).toBe(0);
  });

  it("reload tproxy's certificate by SIGHUP", async () => {
    const unit = await readFile(join(dir, "systemd", "dstack-tproxy.service"), "utf8");
    expect(unit).toMatch(/^ExecReload=kill -HUP \$MAINPID$/m);
  });

  it.each(["certbot", "kms", "tproxy"])(
    "K4: dstack-%s leaves no core dump, which would hold its keys",
    async (name) => {
      const unit = await readFile(join(dir, "systemd", `dstack-${name}.service`), "utf8");
      expect(unit).toMatch(/^LimitCORE=0$/m);
    },
  );

  it("are all there, and the places they write to", async () => {
    expect(await readdir(join(dir, "systemd"))).toEqual(NAMES.map((name) => `dstack-${name}.service`));
    expect((await stat(join(dir, "run", "certbot"))).isDirectory()).toBe(true);
  });

  it.each(["yes", "no"])(
    "may write where build.sh's configurations say, SIMULATED_TDX=%s",
    async (simulated) => {
      const env = await exampleEnv();
      const given = { SIMULATED_TDX: simulated, CF_API_TOKEN: "token" };
      const configs = operatorConfigs({
        dir,
        settings: readSettings({ ...env, ...given, CERBOT_WORKDIR: join(dir, "run/certbot") }),
        allowed: { kms: [], tproxy: [] },
        proxyCertificate: { cert: "/cert.pem", key: "/key.pem" },
      });
      expect(Object.keys(configs).toSorted()).toEqual(NAMES);
      for (const [name, config] of Object.entries(configs)) {
        const unit = await readFile(join(dir, "systemd", `dstack-${name}.service`), "utf8");
        const writable = /^ReadWritePaths=(.*)$/m.exec(unit)?.[1]?.split(" ") ?? [];
        const found = paths(config);
        expect(found.filter(([setting]) => ![...WRITTEN, ...READ].includes(setting))).toEqual([]);
        const written = found.filter(([setting]) => WRITTEN.includes(setting));
        expect(written, name).not.toEqual([]);
        const outside = written.filter(
          ([, path]) => !writable.some((place) => path === place || path.startsWith(`${place}/`)),
        );
        expect(outside, name).toEqual([]);
      }
    },
  );

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
