import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseAppId, parseInstanceId } from "@dstack/core";
import { sharedFiles, writeSharedFolder } from "../../src/vm/shared-folder.js";
import type { SharedFolder } from "../../src/vm/shared-folder.js";

const least: SharedFolder = {
  composeFile: '{ "exact":  "bytes" }\n',
  vmId: "0d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11",
  rootfsHash: "ab".repeat(32),
  vmConfig: { image: "dstack-0.1.0", os_image_hash: "cd".repeat(32), cpu_count: 2, memory_size: 2 ** 31 },
  hints: {
    kmsUrl: "https://10.0.2.2:9043",
    tproxyUrl: "https://10.0.2.2:9070",
    dockerRegistry: "http://10.0.2.2:5500",
  },
  certificates: { caCert: "PEM" },
  encryptedEnv: new Uint8Array(),
};
const most: SharedFolder = {
  ...least,
  certificates: { caCert: "PEM", tmpCa: { cert: "CERT", key: "KEY" } },
  encryptedEnv: Uint8Array.of(1, 2, 3),
  instanceInfo: {
    bootstrapped: true,
    instanceId: parseInstanceId("12".repeat(20)),
    appId: parseAppId("34".repeat(20)),
  },
  simulator: '{"seed":"00"}',
  authorizedKeys: "ssh-ed25519 AAAA\n",
};

describe("the shared folder", () => {
  let dir: string;
  beforeEach(async () => {
    dir = join(await mkdtemp(join(tmpdir(), "teepod-shared-")), "shared");
  });
  afterEach(() => rm(join(dir, ".."), { recursive: true, force: true }));

  it("has what wire.md says, and the compose document byte for byte", async () => {
    await writeSharedFolder(dir, least);
    expect(await readFile(join(dir, "app-compose.json"), "utf8")).toBe(least.composeFile);
    expect(JSON.parse(await readFile(join(dir, "config.json"), "utf8"))).toEqual({
      kms_url: "https://10.0.2.2:9043",
      tproxy_url: "https://10.0.2.2:9070",
      docker_registry: "http://10.0.2.2:5500",
      rootfs_hash: least.rootfsHash,
      vm_id: least.vmId,
      vm_config: least.vmConfig,
    });
    expect([...sharedFiles(least).keys()]).toEqual(["app-compose.json", "config.json", "certs/ca.cert"]);
  });

  it("has the optional files when there is something for them", () => {
    const files = sharedFiles(most);
    expect([...files.keys()].sort()).toEqual([
      ".instance_info",
      "app-compose.json",
      "authorized_keys",
      "certs/ca.cert",
      "certs/tmp-ca.cert",
      "certs/tmp-ca.key",
      "config.json",
      "encrypted-env",
      "simulator.json",
    ]);
    expect(files.get(".instance_info")?.data).toBe(
      JSON.stringify({ bootstrapped: true, instance_id: "12".repeat(20), app_id: "34".repeat(20) }),
    );
  });

  it("K4: files that hold secrets are readable by their owner only", async () => {
    await writeSharedFolder(dir, most);
    for (const name of ["simulator.json", "encrypted-env", "certs/tmp-ca.key"]) {
      expect((await stat(join(dir, name))).mode & 0o777, name).toBe(0o600);
    }
  });

  it("is made anew, through no link that was there", async () => {
    const victim = join(dir, "..", "victim");
    await mkdir(victim);
    await writeFile(join(victim, "config.json"), "untouched");
    await symlink(victim, dir);
    await writeSharedFolder(dir, least);
    expect(await readFile(join(victim, "config.json"), "utf8")).toBe("untouched");
    expect((await stat(join(dir, "config.json"))).isFile()).toBe(true);
  });
});
