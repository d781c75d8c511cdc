import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MAX_COMPOSE_BYTES, parseHostConfig, readShare } from "../../src/boot/share.js";

let share: string;
beforeEach(async () => {
  share = await mkdtemp(join(tmpdir(), "share-"));
  await mkdir(join(share, "certs"));
  await writeFile(join(share, "app-compose.json"), "{}");
  await writeFile(join(share, "config.json"), "{}");
  await writeFile(join(share, "certs", "ca.cert"), "pem");
});
afterEach(async () => {
  await rm(share, { recursive: true });
});

describe("readShare", () => {
  it("copies the files it knows and ignores other names", async () => {
    await writeFile(join(share, "evil.sh"), "rm -rf /");
    const raw = await readShare(share);
    expect(Buffer.from(raw.appCompose).toString()).toBe("{}");
    expect(Buffer.from(raw.caCert ?? []).toString()).toBe("pem");
    expect(Object.keys(raw).toSorted()).toEqual(
      [
        "appCompose",
        "authorizedKeys",
        "caCert",
        "config",
        "encryptedEnv",
        "instanceInfo",
        "simulator",
      ].toSorted(),
    );
    expect(raw.encryptedEnv).toBeUndefined();
  });

  it("G1: what was read is a copy: the host changes nothing afterwards", async () => {
    const raw = await readShare(share);
    await writeFile(join(share, "app-compose.json"), "changed");
    expect(Buffer.from(raw.appCompose).toString()).toBe("{}");
  });

  it.each(["app-compose.json", "config.json", "encrypted-env", ".instance_info", "simulator.json"])(
    "G1: refuses %s as a symbolic link",
    async (name) => {
      await rm(join(share, name), { force: true });
      await symlink("/etc/shadow", join(share, name));
      await expect(readShare(share)).rejects.toThrow("is a symbolic link");
    },
  );

  it("G1: refuses a certificate that is a link, and one below a linked directory", async () => {
    await rm(join(share, "certs", "ca.cert"));
    await symlink("/etc/ssl/certs/ca-certificates.crt", join(share, "certs", "ca.cert"));
    await expect(readShare(share)).rejects.toThrow("is a symbolic link");
    await rm(join(share, "certs"), { recursive: true });
    await symlink("/etc", join(share, "certs"));
    await expect(readShare(share)).rejects.toThrow("not a directory");
  });

  it("G1: neither waits for a pipe nor reads a directory", async () => {
    await rm(join(share, "config.json"));
    execFileSync("mkfifo", [join(share, "config.json")]);
    await expect(readShare(share)).rejects.toThrow("not a regular file");
    await rm(join(share, "config.json"));
    await mkdir(join(share, "config.json"));
    await expect(readShare(share)).rejects.toThrow("not a regular file");
  });

  it("G1: refuses files above their caps", async () => {
    await writeFile(join(share, "app-compose.json"), Buffer.alloc(MAX_COMPOSE_BYTES));
    await readShare(share);
    await writeFile(join(share, "app-compose.json"), Buffer.alloc(MAX_COMPOSE_BYTES + 1));
    await expect(readShare(share)).rejects.toThrow(
      `app-compose.json is larger than ${MAX_COMPOSE_BYTES} bytes`,
    );
    await writeFile(join(share, "app-compose.json"), "{}");
    await writeFile(join(share, ".instance_info"), Buffer.alloc(4097));
    await expect(readShare(share)).rejects.toThrow(".instance_info is larger than");
  });

  it("names the file that is missing", async () => {
    await rm(join(share, "app-compose.json"));
    await expect(readShare(share)).rejects.toThrow("the host share has no app-compose.json");
  });
});

describe("parseHostConfig", () => {
  const parse = (value: unknown): ReturnType<typeof parseHostConfig> =>
    parseHostConfig(Buffer.from(typeof value === "string" ? value : JSON.stringify(value)));

  it("takes hints and ignores what it does not know", () => {
    expect(
      parse({
        kms_url: "https://10.0.2.2:9043",
        tproxy_url: "https://10.0.2.2:9070/",
        docker_registry: "http://10.0.2.2:5500/",
        rootfs_hash: "lies",
        anything: { else: true },
      }),
    ).toEqual({
      kmsUrl: "https://10.0.2.2:9043",
      tproxyUrl: "https://10.0.2.2:9070/",
      dockerRegistry: "http://10.0.2.2:5500",
      vmConfig: "{}",
    });
    const vm = { image: "dstack-0.1.0", os_image_hash: "cd".repeat(32), cpu_count: 2, memory_size: 2 ** 31 };
    expect(JSON.parse(parse({ vm_config: { ...vm, more: "ignored" } }).vmConfig)).toEqual(vm);
    expect(parse({ docker_registry: "" }).dockerRegistry).toBeUndefined();
  });

  it("G1: refuses what is not strict JSON, and URLs of other schemes", () => {
    expect(() => parse("{'kms_url': 1}")).toThrow("config.json is not JSON in UTF-8");
    expect(() => parseHostConfig(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(
      "config.json is not JSON in UTF-8",
    );
    expect(() => parse([])).toThrow("config.json");
    expect(() => parse({ kms_url: "file:///etc/passwd" })).toThrow(
      "config.json: kms_url: must be an https URL",
    );
    expect(() => parse({ docker_registry: "ftp://10.0.2.2" })).toThrow("must be an http(s) URL");
    for (const bad of [{ os_image_hash: "x" }, { image: 'a"\nb = 1' }, { cpu_count: -1 }, [], "text"]) {
      expect(() => parse({ vm_config: bad })).toThrow("config.json: vm_config");
    }
  });

  it("K3: refuses a KMS or tproxy without TLS, which anybody on the way could answer for", () => {
    expect(() => parse({ kms_url: "http://10.0.2.2:9043" })).toThrow("kms_url: must be an https URL");
    expect(() => parse({ tproxy_url: "http://10.0.2.2:9070" })).toThrow("tproxy_url: must be an https URL");
  });
});
