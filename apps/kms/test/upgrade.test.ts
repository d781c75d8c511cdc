import { execFile } from "node:child_process";
import { chmod, mkdir, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import { parseAppId } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Kms } from "../src/index.js";
import { UpgradeRegistry } from "../src/policy/upgrade-registry.js";
import { bootGuest, guestClient, install, start } from "./guest.js";
import type { Guest, Installation } from "./guest.js";
import { tempDir } from "./temp.js";

const run = promisify(execFile);
const script = fileURLToPath(new URL("../../../scripts/kms-allow-upgrade.sh", import.meta.url));

const a = parseAppId("aa".repeat(20));
const b = parseAppId("bb".repeat(20));

/** Runs the script; gives exit code and what it printed. */
async function allow(args: string[], options: { cwd?: string; env?: Record<string, string> } = {}) {
  // Nothing of this machine's own installation may be found.
  const env = { PATH: process.env["PATH"] ?? "", HOME: "/nonexistent", ...options.env };
  return run("/bin/sh", [script, ...args], { cwd: options.cwd ?? tmpdir(), env }).then(
    ({ stdout }) => ({ code: 0, text: stdout }),
    (err: unknown) => {
      const { code, stderr } = err as { code: number; stderr: string };
      return { code, text: stderr };
    },
  );
}

describe("K2: upgrade of an app", () => {
  let installation: Installation;
  let server: Kms;
  let upgraded: Guest;

  beforeAll(async () => {
    installation = await install();
    server = await start(installation);
    upgraded = await bootGuest({ caPem: installation.caPem, firstCompose: "v1", compose: "v2" });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  const keysOf = async (guest: Guest, of: Kms = server, from: Installation = installation) => {
    await using client = await guestClient(from, of, guest);
    return await client.getAppKey();
  };
  const idOf = async (compose: string): Promise<string> =>
    (await bootGuest({ caPem: installation.caPem, compose })).appId;

  it("K2: is refused until it was allowed, names the command, and then gives the old keys", async () => {
    const old = await keysOf(await bootGuest({ caPem: installation.caPem, compose: "v1" }));
    const newId = await idOf("v2");
    const command = `kms-allow-upgrade.sh ${upgraded.appId} ${newId}`;
    await expect(keysOf(upgraded)).rejects.toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining(command) as unknown,
    });
    const done = await allow([upgraded.appId, newId], {
      env: { KMS_UPGRADE_REGISTRY: installation.registryDir },
    });
    expect(done.code).toBe(0);
    const keys = await keysOf(upgraded);
    expect(keys.appKey).toBe(old.appKey);
    expect(keys.diskCryptKey).toEqual(old.diskCryptKey);
    expect(keys.envCryptKey).toEqual(old.envCryptKey);
  });

  it("K2: permits exactly that pair: neither another version, nor another app, nor the way back", async () => {
    await allow([await idOf("v1"), await idOf("v2")], {
      env: { KMS_UPGRADE_REGISTRY: installation.registryDir },
    });
    for (const [firstCompose, compose] of [
      ["v1", "v3"],
      ["other", "v2"],
      ["v2", "v1"],
    ] as const) {
      const guest = await bootGuest({ caPem: installation.caPem, firstCompose, compose });
      await expect(keysOf(guest), `${firstCompose} → ${compose}`).rejects.toMatchObject({
        code: "permission_denied",
      });
    }
  });

  it("K2: a permission that was removed counts no more", async () => {
    const newId = await idOf("v2");
    await allow([upgraded.appId, newId], { env: { KMS_UPGRADE_REGISTRY: installation.registryDir } });
    await keysOf(upgraded);
    await rm(join(installation.registryDir, upgraded.appId, newId));
    await expect(keysOf(upgraded)).rejects.toMatchObject({ code: "permission_denied" });
  });

  it("K2: any upgrade passes only where allow_any_upgrade is spelled out", async () => {
    const lax = await install({ allow_any_upgrade: true });
    await using kms = await start(lax);
    const guest = await bootGuest({ caPem: lax.caPem, firstCompose: "v1", compose: "v9" });
    expect((await keysOf(guest, kms, lax)).appKey).toContain("PRIVATE KEY");
  });
});

describe("K2: upgrade registry", () => {
  it("K2: takes regular files for permissions, no links, no directories", async () => {
    const dir = join(await tempDir(), "upgrades");
    const registry = await UpgradeRegistry.open(dir);
    await mkdir(join(dir, a, b), { recursive: true });
    expect(await registry.isAllowed(a, b)).toBe(false);
    await rm(join(dir, a, b), { recursive: true });
    await symlink("/etc/passwd", join(dir, a, b));
    expect(await registry.isAllowed(a, b)).toBe(false);
    await rm(join(dir, a, b));
    expect(await registry.isAllowed(a, b)).toBe(false);
    await writeFile(join(dir, a, b), "");
    expect(await registry.isAllowed(a, b)).toBe(true);
    expect(await registry.isAllowed(b, a)).toBe(false);
  });

  it("K2: lets no id lead out of its directory, even one that was cast", async () => {
    const dir = await tempDir();
    const registry = await UpgradeRegistry.open(join(dir, "upgrades"));
    await writeFile(join(dir, "file"), "");
    await expect(registry.isAllowed("../file" as AppId, "." as AppId)).rejects.toThrow(/40 lower-case/);
    await expect(registry.isAllowed(a, "../../file" as AppId)).rejects.toThrow(/40 lower-case/);
  });

  it("K2: does not open a directory that others may write into", async () => {
    const dir = await tempDir();
    await chmod(dir, 0o777);
    await expect(UpgradeRegistry.open(dir)).rejects.toThrow(/chmod go-w/);
  });
});

describe("kms-allow-upgrade.sh", () => {
  const config = (registry: string): string =>
    `port = 1\n[other]\nupgrade_registry_dir = "/wrong"\n[core] # the KMS\n  upgrade_registry_dir = ${registry}\n[attestation]\n`;

  it("finds the registry in kms.toml: given, in the working directory, in the local installation", async () => {
    const dir = await tempDir();
    const registry = join(dir, "with space");
    await mkdir(registry);
    await writeFile(join(dir, "kms.toml"), config(`"${registry}" # here`));
    await writeFile(join(dir, "literal.toml"), config(`'${registry}'`));
    const ids = ["1", "2", "3", "4"].map((digit) => digit.repeat(40));
    const [first = "", second = "", third = "", fourth = ""] = ids;
    expect((await allow(["-c", join(dir, "literal.toml"), a, first])).code).toBe(0);
    expect((await allow([a, second], { cwd: dir })).code).toBe(0);
    expect((await allow([a, third], { env: { DSTACK_HOME: dir } })).code).toBe(0);
    expect(
      (await allow(["-c", join(dir, "kms.toml"), a, fourth], { env: { KMS_UPGRADE_REGISTRY: "/wrong" } }))
        .code,
    ).toBe(0);
    expect((await readdir(join(registry, a))).toSorted()).toEqual(ids);
    expect((await stat(join(registry, a, first))).isFile()).toBe(true);
    // Twice is as good as once.
    expect((await allow([a, second], { cwd: dir })).code).toBe(0);
  });

  it.each([
    [["../../etc", b]],
    [[a, "../x"]],
    [[a.toUpperCase(), b]],
    [[a.slice(1), b]],
    [[a, `${b}0`]],
    [[a, `${b.slice(1)}\n`]],
    [["", b]],
    [[a]],
    [[a, b, b]],
    [["-x", a, b]],
  ])("K2: refuses %j and writes nothing", async (args) => {
    const registry = await tempDir();
    expect((await allow(args, { env: { KMS_UPGRADE_REGISTRY: registry } })).code).toBe(2);
    expect(await readdir(registry)).toEqual([]);
  });

  it("says what is missing when there is no registry", async () => {
    expect(await allow([a, b])).toMatchObject({
      code: 1,
      text: expect.stringContaining("KMS_UPGRADE_REGISTRY") as unknown,
    });
    const gone = await allow([a, b], { env: { KMS_UPGRADE_REGISTRY: "/nonexistent/registry" } });
    expect(gone).toMatchObject({
      code: 1,
      text: expect.stringContaining("/nonexistent/registry") as unknown,
    });
    const dir = await tempDir();
    await writeFile(join(dir, "kms.toml"), '[core]\n[other]\nupgrade_registry_dir = "/wrong"\n');
    expect((await allow([a, b], { cwd: dir })).text).toContain("no upgrade_registry_dir under [core]");
  });
});
