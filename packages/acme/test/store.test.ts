import { X509Certificate, createPrivateKey } from "node:crypto";
import { mkdtemp, mkdir, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { WorkDirectory } from "../src/store/work-directory.js";

let path: string;
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "certbot-store-"));
});
afterEach(() => rm(path, { recursive: true, force: true }));

async function selfSigned(commonName: string): Promise<{ cert: string; key: string }> {
  const dir = await mkdtemp(join(tmpdir(), "cert-"));
  const files = ["-keyout", join(dir, "key"), "-out", join(dir, "cert")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const names = ["-subj", `/CN=${commonName}`, "-addext", `subjectAltName=DNS:${commonName}`];
  await execa("openssl", ["req", "-x509", ...curve, "-days", "2", ...files, ...names]);
  const made = {
    cert: await readFile(join(dir, "cert"), "utf8"),
    key: await readFile(join(dir, "key"), "utf8"),
  };
  await rm(dir, { recursive: true });
  return made;
}

const root = fileURLToPath(new URL("../../../", import.meta.url));
const support = join(root, "packages/acme/test/support");

/** @returns whether the child was killed */
async function installAndKill(
  child: string,
  before: number,
  made: { cert: string; key: string },
): Promise<boolean> {
  const { signal, failed, stderr } = await execa(
    "node",
    ["--import", join(support, "kill-at-step.mjs"), child],
    {
      env: { WORK_DIR: path, CERT: made.cert, KEY: made.key, KILL_UNDER: path, KILL_BEFORE: String(before) },
      reject: false,
    },
  );
  if (failed && signal !== "SIGKILL") throw new Error(stderr);
  return signal === "SIGKILL";
}

describe("the work directory", () => {
  it("kill -9 before any step leaves the old or the new certificate, whole, and the next run finishes", async () => {
    const [first, second] = [await selfSigned("first.test"), await selfSigned("second.test")];
    const built = await mkdtemp(join(tmpdir(), "certbot-child-"));
    const child = join(built, "child.mjs");
    await execa("node", ["scripts/bundle.mjs", join(support, "install-child.ts"), child], { cwd: root });
    let seen = new Set<string>();
    let steps = 0;
    for (let before = 1; ; before++) {
      await rm(path, { recursive: true });
      await mkdir(path);
      const dir = await WorkDirectory.open(path);
      await dir.install(first.cert, first.key, 0);
      const killed = await installAndKill(child, before, second);
      const live = await dir.live();
      seen = seen.add(live?.names.join() ?? "none");
      const key = createPrivateKey(await readFile(dir.liveKeyPath, "utf8"));
      expect(new X509Certificate(await readFile(dir.liveCertPath, "utf8")).checkPrivateKey(key)).toBe(true);
      await dir.tidy();
      await dir.install(second.cert, second.key, Date.now());
      expect((await dir.live())?.names).toEqual(["second.test"]);
      expect((await readdir(join(path, "backup"))).filter((name) => name.endsWith(".tmp"))).toEqual([]);
      if (!killed) break;
      steps = before;
    }
    expect(seen).toEqual(new Set(["first.test", "second.test"]));
    await rm(built, { recursive: true });
    expect(steps).toBeGreaterThan(8);
  });

  it("a disk that is full from any step on leaves the old certificate, whole, or the new one; with room it goes on", async () => {
    const [first, second] = [await selfSigned("first.test"), await selfSigned("second.test")];
    const built = await mkdtemp(join(tmpdir(), "certbot-child-"));
    const child = join(built, "child.mjs");
    await execa("node", ["scripts/bundle.mjs", join(support, "install-child.ts"), child], { cwd: root });
    let refusals = 0;
    for (let from = 1; ; from++) {
      await rm(path, { recursive: true });
      await mkdir(path);
      const dir = await WorkDirectory.open(path);
      await dir.install(first.cert, first.key, 0);
      const env = {
        WORK_DIR: path,
        CERT: second.cert,
        KEY: second.key,
        KILL_UNDER: path,
        FULL_FROM: String(from),
      };
      const args = ["--import", join(support, "kill-at-step.mjs"), child];
      const { failed, stderr } = await execa("node", args, { env, reject: false });
      if (failed) expect(stderr).toContain("ENOSPC");
      const live = await dir.live();
      expect(live?.names[0]).toMatch(failed ? /^(first|second)\.test$/ : /^second\.test$/);
      const key = createPrivateKey(await readFile(dir.liveKeyPath, "utf8"));
      expect(new X509Certificate(await readFile(dir.liveCertPath, "utf8")).checkPrivateKey(key)).toBe(true);
      await dir.tidy();
      await dir.install(second.cert, second.key, Date.now());
      expect((await dir.live())?.names).toEqual(["second.test"]);
      if (!failed) break;
      refusals++;
    }
    await rm(built, { recursive: true });
    expect(refusals).toBeGreaterThan(8);
  });

  it("a disk that fails while storing leaves the old certificate and nothing half written", async () => {
    const first = await selfSigned("first.test");
    const dir = await WorkDirectory.open(path);
    await dir.install(first.cert, first.key, 0);
    const tooLong = "x".repeat(300);
    await expect(dir.install(tooLong, undefined as unknown as string, 1)).rejects.toThrow();
    expect((await dir.live())?.names).toEqual(["first.test"]);
    expect(await readdir(join(path, "backup"))).toHaveLength(1);
  });

  it("never overwrites a certificate of the same moment", async () => {
    const made = await selfSigned("first.test");
    const dir = await WorkDirectory.open(path);
    const ids = [await dir.install(made.cert, made.key, 5), await dir.install(made.cert, made.key, 5)];
    expect(ids).toEqual(["1970-01-01T00:00:00.005Z", "1970-01-01T00:00:00.006Z"]);
  });

  it.each([
    ["a directory", (live: string) => mkdir(live)],
    ["a link elsewhere", (live: string) => symlink("/etc", live)],
    ["a file", (live: string) => writeFile(live, "")],
  ])("does not touch a live that is not its own: %s", async (_, make) => {
    const made = await selfSigned("first.test");
    const dir = await WorkDirectory.open(path);
    await make(join(path, "live"));
    await expect(dir.live()).rejects.toMatchObject({ code: "foreign" });
    await expect(dir.install(made.cert, made.key, 0)).rejects.toThrow(/move it away/);
  });
});
