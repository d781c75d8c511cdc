import { parseAppId } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import { RpcError } from "@dstack/prpc";
import { CertificateAuthority, decryptEnv, signEnvKey } from "@dstack/ra-tls";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { editEnvFile } from "../src/environment.js";
import { dstack, fakeTeepod } from "./fake-teepod.js";

const APP = "6ab2ce5c2e591092dfd51d75ab2a2751dbcd7c7b";
const DOCUMENT = JSON.stringify({ docker_compose_file: "…", allowed_envs: ["A", "B"] });

describe("an env file", () => {
  it("keeps what is not changed, comments too", () => {
    const text = "# of the shop\nA=1\n\nB=two=2\nA=3\n";
    expect(editEnvFile(text, [{ key: "B", value: "x" }], [])).toBe("# of the shop\nA=1\n\nB=x\nA=3\n");
    // Of several lines of one name the last counted.
    expect(editEnvFile(text, [{ key: "A", value: "4" }], [])).toBe("# of the shop\n\nB=two=2\nA=4\n");
    expect(editEnvFile(text, [], ["A"])).toBe("# of the shop\n\nB=two=2\n");
    expect(editEnvFile("A=1", [{ key: "C", value: "3" }], [])).toBe("A=1\nC=3\n");
    expect(() => editEnvFile("", [{ key: "A", value: "1\nB=2" }], [])).toThrow("several lines");
  });
});

describe("dstack env", () => {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  const raw = new Uint8Array(publicKey.export({ type: "spki", format: "der" }).subarray(-32));
  const secret = privateKey.export({ type: "pkcs8", format: "der" }).subarray(-32);
  let kms: CertificateAuthority;
  let pod: Awaited<ReturnType<typeof fakeTeepod>>;
  let sent: teepod.UpgradeAppRequest | undefined;
  let refusal: Error | undefined;
  let dir: string;
  let file: string;

  beforeAll(async () => {
    kms = await CertificateAuthority.create({ commonName: "kms" });
    const configuration = { composeFile: DOCUMENT, encryptedEnv: new Uint8Array(80) };
    const vm = {
      id: "cb4bf9a0-a3d9-40d9-8be5-99560f557345",
      name: "web",
      appId: APP,
      etag: "e1",
      configuration,
    };
    pod = await fakeTeepod({
      status: async () => ({ vms: [vm] }),
      getAppEnvEncryptPubKey: async ({ appId }: teepod.AppId) => ({
        publicKey: raw,
        rootSignature: signEnvKey(kms.key, parseAppId(appId), raw),
      }),
      upgradeApp: async (request: teepod.UpgradeAppRequest) => {
        if (refusal !== undefined) throw refusal;
        sent = request;
        return { id: APP };
      },
    });
  });
  afterAll(() => pod[Symbol.asyncDispose]());
  beforeEach(async () => {
    [sent, refusal] = [undefined, undefined];
    dir = await mkdtemp(join(tmpdir(), "dstack-env-"));
    file = join(dir, "prod.env");
    await writeFile(join(dir, "ca.pem"), kms.certPem);
    await writeFile(file, "A=1\nB=2\n", { mode: 0o644 });
  });
  afterEach(() => rm(dir, { recursive: true }));

  const env = (verb: string, ...args: string[]) => envOf("web", verb, ...args, "--app-id", APP);
  const envOf = (wanted: string, verb: string, ...args: string[]) =>
    dstack(
      "env",
      verb,
      wanted,
      ...args,
      "--host",
      pod.url,
      "--env-file",
      file,
      "--kms-ca",
      join(dir, "ca.pem"),
    );
  const opened = () => decryptEnv(secret, sent?.encryptedEnv ?? new Uint8Array());

  it("K7: set changes one variable, and sends all of them anew in one bundle", async () => {
    expect(await env("set", "B=three")).toContain("sent: A, B");
    expect(opened()).toEqual([
      { key: "A", value: "1" },
      { key: "B", value: "three" },
    ]);
    // The same document, and only what was looked at is changed.
    expect(sent).toMatchObject({ composeFile: DOCUMENT, expectedEtag: "e1" });
    expect(await readFile(file, "utf8")).toBe("A=1\nB=three\n");
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it("unset takes one out, down to none", async () => {
    expect(await env("unset", "A")).toContain("sent: B; without a value: A");
    expect(opened()).toEqual([{ key: "B", value: "2" }]);
    expect(await env("unset", "B")).toContain("sent: no variable");
    expect(opened()).toEqual([]);
    expect(await readFile(file, "utf8")).toBe("");
  });

  it("K7: refuses names that the document does not allow, and changes nothing", async () => {
    await expect(env("set", "C=1")).rejects.toThrow("does not allow C: a new name is a new document");
    await expect(env("unset", "C")).rejects.toThrow("does not allow C");
    await writeFile(file, "A=1\nD=1\n");
    await expect(env("push")).rejects.toThrow("does not allow D");
    expect(sent).toBeUndefined();
    expect(await readFile(file, "utf8")).toBe("A=1\nD=1\n");
  });

  it("never sends a part for the whole: without the file all values have to be given", async () => {
    await rm(file);
    await expect(env("set", "A=1")).rejects.toThrow("nobody can read the values that the CVM has");
    expect(sent).toBeUndefined();
    await env("set", "A=1", "B=2");
    expect(opened()).toHaveLength(2);
  });

  it("K7: seals to no key that the KMS has not signed, and leaves the file alone then", async () => {
    const stranger = await CertificateAuthority.create({ commonName: "kms" });
    await writeFile(join(dir, "ca.pem"), stranger.certPem);
    await expect(env("set", "A=9")).rejects.toThrow("not signed by that KMS");
    expect(await readFile(file, "utf8")).toBe("A=1\nB=2\n");
  });

  it("K7: seals to no app that only the teepod names: its key is signed by the KMS as well", async () => {
    await expect(envOf("web", "push")).rejects.toThrow("say which app web is");
    const meant = "1".repeat(40);
    await expect(envOf("web", "push", "--app-id", meant)).rejects.toThrow(`is the app ${APP}, not ${meant}`);
    const compose = join(dir, "compose.yaml");
    await writeFile(compose, "services: { web: { image: nginx } }\n");
    const upgrade = [
      "upgrade",
      "web",
      compose,
      "--host",
      pod.url,
      "--env",
      "A=1",
      "--kms-ca",
      join(dir, "ca.pem"),
    ];
    await expect(dstack(...upgrade)).rejects.toThrow("say which app web is");
    await expect(dstack(...upgrade, "--app-id", meant)).rejects.toThrow(`is the app ${APP}, not ${meant}`);
    expect(sent).toBeUndefined();
    await dstack(...upgrade, "--app-id", APP);
    expect(opened()).toEqual([{ key: "A", value: "1" }]);
    // Who asks for the CVM by its app has said which one it is.
    await writeFile(file, "A=2\n");
    await envOf(APP, "push");
    expect(opened()).toEqual([{ key: "A", value: "2" }]);
  });

  it("says what is left to do when the VM was changed meanwhile", async () => {
    refusal = new RpcError("conflict", "somebody else has changed this VM");
    await expect(env("set", "A=9")).rejects.toThrow(/somebody else.*`dstack env push` sends it/);
    refusal = undefined;
    await env("push");
    expect(opened()).toContainEqual({ key: "A", value: "9" });
  });

  it("list names what the document allows, and what the file lacks", async () => {
    await writeFile(file, "A=1\n");
    const args = ["env", "list", "web", "--host", pod.url];
    expect(await dstack(...args)).toBe("A\nB\n");
    expect(JSON.parse(await dstack(...args, "--env-file", file, "--json"))).toMatchObject({
      values_sent: true,
      variables: [
        { name: "A", in_file: true },
        { name: "B", in_file: false },
      ],
    });
  });
});
