import { appIdOfCompose, utf8 } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import { execa } from "execa";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { dstack, fakeTeepod } from "./fake-teepod.js";

const REPOSITORY = fileURLToPath(new URL("../../..", import.meta.url));
const ID = "cb4bf9a0-a3d9-40d9-8be5-99560f557345";
const APP = "6ab2ce5c2e591092dfd51d75ab2a2751dbcd7c7b";
const FIELDS = {
  name: "shop",
  runner: "docker-compose",
  docker_compose_file: "services:\n  web:\n    image: one\n",
  public_logs: true,
  sockets: { worker: ["quote"] },
  public_ports: [80],
  allowed_envs: ["A"],
};
const YAML = "services:\n  web:\n    image: two\n";
const UPGRADED = JSON.stringify({ ...FIELDS, docker_compose_file: YAML });
const NEW_ID = appIdOfCompose(utf8(UPGRADED));

let dir: string;
let file: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-upgrade-"));
  file = join(dir, "docker-compose.yaml");
  await writeFile(file, YAML);
});
afterAll(() => rm(dir, { recursive: true }));

/** Runs the command of an answer in a shell. */
async function runAsPrinted(answer: string, cwd: string): Promise<void> {
  const { allow_command: command } = JSON.parse(answer) as { allow_command: string };
  const { KMS_UPGRADE_REGISTRY: _, ...env } = process.env;
  const { all, exitCode } = await execa("sh", ["-c", command], {
    ...{ cwd, env, extendEnv: false, all: true, reject: false },
  });
  expect([exitCode, all]).toEqual([0, `app ${APP} may now run as ${NEW_ID}`]);
}

async function pod({
  appId = APP,
  composeFile = JSON.stringify(FIELDS),
  encryptedEnv = new Uint8Array(),
} = {}) {
  const sent: teepod.UpgradeAppRequest[] = [];
  const daemon = await fakeTeepod({
    // What a VM is called with a teepod need not be what its document says.
    status: async () => ({
      vms: [{ id: ID, name: "web", appId, etag: "e1", configuration: { composeFile, encryptedEnv } }],
    }),
    upgradeApp: async (request: teepod.UpgradeAppRequest) => {
      sent.push(request);
      return { id: "f".repeat(40) };
    },
  });
  return { ...daemon, sent };
}

describe("dstack upgrade", () => {
  it("G5, G7, G8: a compose file leaves the document's other fields as they are, and shows what changes", async () => {
    await using host = await pod();
    const out = await dstack("upgrade", "web", file, "--host", host.url, "--json");
    expect(host.sent.map(({ composeFile }) => composeFile)).toEqual([UPGRADED]);
    expect(JSON.parse(out)).toMatchObject({ changes: ["-     image: one", "+     image: two"] });
  });

  it("G8: makes public, or private again, what is named, and leaves the rest", async () => {
    await using host = await pod();
    const flags = ["--no-public-logs", "--public-sysinfo"];
    await dstack("upgrade", "web", file, ...flags, "--host", host.url);
    expect(JSON.parse(host.sent[0]?.composeFile ?? "")).toEqual({
      ...FIELDS,
      docker_compose_file: YAML,
      public_logs: false,
      public_sysinfo: true,
    });
    const document = join(dir, "document.json");
    await writeFile(document, JSON.stringify(FIELDS));
    const refused = dstack("upgrade", "web", document, ...flags, "--host", host.url);
    await expect(refused).rejects.toMatchObject({
      exitCode: 2,
      message: expect.stringContaining("what is public stands in it") as unknown,
    });
    expect(host.sent).toHaveLength(1);
  });

  it("K7: a document that leaves out a variable of kept secrets is refused: its app would not start", async () => {
    const composeFile = JSON.stringify({ ...FIELDS, allowed_envs: ["A", "B"] });
    await using host = await pod({ composeFile, encryptedEnv: new Uint8Array(60) });
    const fewer = join(dir, "app-compose.json");
    await writeFile(fewer, JSON.stringify(FIELDS));
    await expect(dstack("upgrade", "web", fewer, "--host", host.url)).rejects.toThrow("leaves out B");
    expect(host.sent).toEqual([]);
  });

  it("K2: the id to allow is that of the document made here, whatever the teepod answers", async () => {
    await using host = await pod();
    const out = await dstack("upgrade", "web", file, "--host", host.url);
    expect(out).toContain(`kms-allow-upgrade.sh ${APP} ${NEW_ID}\n`);
    expect(out).not.toContain("ffff");
    await using liar = await pod({ appId: `${APP}; reboot` });
    await expect(dstack("upgrade", "web", file, "--host", liar.url)).rejects.toThrow("app id");
  });

  it("K2: a teepod that names another app than the one that was asked for is told", async () => {
    const asked = "ab".repeat(20);
    await using liar = await pod();
    await expect(dstack("upgrade", "web", file, "--host", liar.url, "--app-id", asked)).rejects.toThrow(
      `is the app ${APP}, not ${asked}`,
    );
    expect(liar.sent).toEqual([]);
    const notices = async (...args: string[]): Promise<string> => {
      const out = await dstack("upgrade", "web", file, "--host", liar.url, "--json", ...args);
      return (JSON.parse(out) as { notices: string[] }).notices.join("\n");
    };
    expect(await notices()).toContain(`that web is the app ${APP} is what its teepod says`);
    expect(await notices("--app-id", APP)).not.toContain("that web is the app");
  });

  it("K2, K7: fields that stay in another machine's document are shown, but of the app's first one", async () => {
    const composeFile = JSON.stringify({ ...FIELDS, allowed_envs: ["A", "NODE_OPTIONS"] });
    const upgrade = async (composeFile: string): Promise<string> => {
      const appId = appIdOfCompose(utf8(JSON.stringify(FIELDS)));
      await using host = await pod({ appId, composeFile });
      const args = ["upgrade", appId, file, "--host", host.url, "--json"];
      const dry = await dstack(...args, "--dry-run");
      expect(await dstack(...args)).toContain('"notices"');
      return (JSON.parse(dry) as { notices: string[] }).notices.join("\n");
    };
    expect(await upgrade(composeFile)).toContain('allowed_envs: ["A","NODE_OPTIONS"]');
    expect(await upgrade(JSON.stringify(FIELDS))).toBe("");
  });

  it("K2: the command it prints works: for the local installation from anywhere", async () => {
    await using host = await pod();
    const home = join(dir, "it's a home");
    await mkdir(join(home, "upgrades"), { recursive: true });
    await writeFile(join(home, "kms.toml"), `[core]\nupgrade_registry_dir = "${home}/upgrades"\n`);
    const ports = { pcs: 1, kms: 1, tproxy: 1, tproxyAdmin: 1, proxy: 1, wireguard: 1, registry: 1 };
    const state = { version: 1, ports: { ...ports, teepod: host.port } };
    await writeFile(join(home, "state.json"), JSON.stringify(state));
    // As the bundled program knows its checkout, and no kms.toml of the directory comes first.
    const [node = "", vitest = ""] = process.argv;
    process.argv = [node, join(REPOSITORY, "apps/dstack/dist/dstack.mjs")];
    await writeFile(join(dir, "kms.toml"), "");
    vi.stubEnv("SUDO_UID", undefined);
    const cwd = vi.spyOn(process, "cwd").mockReturnValue(dir);
    try {
      const out = await dstack("--home", home, "upgrade", "web", file, "--json");
      await runAsPrinted(out, dir);
    } finally {
      process.argv = [node, vitest];
      cwd.mockRestore();
      vi.unstubAllEnvs();
    }
    expect(await readdir(join(home, "upgrades", APP))).toEqual([NEW_ID]);
  });

  it("K2: the command it prints works: for another host where build.sh put the KMS", async () => {
    await using host = await pod();
    const kms = join(dir, "build");
    await mkdir(join(kms, "upgrades"), { recursive: true });
    await writeFile(join(kms, "kms.toml"), `[core]\nupgrade_registry_dir = "${kms}/upgrades"\n`);
    await copyFile(join(REPOSITORY, "scripts/kms-allow-upgrade.sh"), join(kms, "kms-allow-upgrade.sh"));
    await runAsPrinted(await dstack("upgrade", "web", file, "--host", host.url, "--json"), kms);
    expect(await readdir(join(kms, "upgrades", APP))).toEqual([NEW_ID]);
    expect(await dstack("upgrade", "web", file, "--host", host.url)).toContain(
      "first, in the KMS's directory:\n  ./kms-allow-upgrade.sh",
    );
  });

  it("--dry-run tells document and id, and sends nothing", async () => {
    await using host = await pod();
    const out = await dstack("upgrade", "web", file, "--host", host.url, "--dry-run");
    expect(out).toContain(`${UPGRADED}\n`);
    expect(out).toContain(`app id       ${NEW_ID}`);
    expect(host.sent).toEqual([]);
  });

  it("says so when what the VM has is no app-compose document", async () => {
    await using host = await pod({ composeFile: "" });
    await expect(dstack("upgrade", "web", file, "--host", host.url)).rejects.toThrow("not an app-compose");
    expect(host.sent).toEqual([]);
  });
});
