import { parseAppId } from "@dstack/core";
import { CertificateAuthority, decryptEnv, signEnvKey } from "@dstack/ra-tls";
import type { teepod } from "@dstack/proto";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Progress } from "../src/output.js";
import { teepodClient } from "../src/teepod.js";
import { waitReady } from "../src/wait.js";
import { dstack, fakeTeepod } from "./fake-teepod.js";

type VmInit = Partial<Omit<teepod.VmInfo, "$typeName" | "configuration">>;

const APP = "6ab2ce5c2e591092dfd51d75ab2a2751dbcd7c7b";
const vm = (more: VmInit): VmInit => ({
  id: "cb4bf9a0-a3d9-40d9-8be5-99560f557345",
  name: "web",
  status: "running",
  uptime: "5m 4s",
  appId: APP,
  ...more,
});
const ready = vm({ bootProgress: "ready", appUrl: `https://${APP}-8090.app.localhost:9443` });

/** A teepod with these VMs. */
const podWith = (...vms: VmInit[]) => fakeTeepod({ status: async () => ({ vms }) });

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-commands-"));
  file = join(dir, "docker-compose.yaml");
  await writeFile(file, "services:\n  web:\n    image: nginx\n    environment: [SECRET]\n");
});
afterEach(() => rm(dir, { recursive: true }));

describe("dstack ls", () => {
  it("shows where the app is reached, and whether a running VM has booted", async () => {
    const failed = vm({ id: "12345678-0000", name: "crash", bootError: "compose: no such image" });
    await using pod = await podWith(ready, failed, vm({ id: "87654321-0000", bootProgress: "tappd" }));
    expect((await dstack("ls", "--host", pod.url)).split("\n")).toEqual([
      "ID        NAME   STATE          UP     APP",
      `cb4bf9a0  web    running        5m 4s  https://${APP}.app.localhost:9443`,
      `12345678  crash  boot failed    5m 4s  ${APP}`,
      `87654321  web    booting tappd  5m 4s  ${APP}`,
      "crash: compose: no such image",
      "",
    ]);
    expect(JSON.parse(await dstack("ls", "--host", pod.url, "--json"))).toMatchObject([
      {
        id: ready.id,
        app_url: `https://${APP}.app.localhost:9443`,
        dashboard_url: `https://${APP}-8090.app.localhost:9443`,
      },
      { boot_error: "compose: no such image" },
      { boot_progress: "tappd" },
    ]);
  });
});

describe("dstack show", () => {
  it("names the app at the port that its compose file publishes", async () => {
    await using pod = await podWith({ ...ready, appPort: 8080 });
    expect(JSON.parse(await dstack("show", "web", "--host", pod.url, "--json"))).toMatchObject({
      app_url: `https://${APP}-8080.app.localhost:9443`,
      dashboard_url: `https://${APP}-8090.app.localhost:9443`,
    });
  });
});

describe("dstack start and stop", () => {
  it("leave a VM alone that is in that state already", async () => {
    await using running = await podWith(ready);
    expect(await dstack("start", "web", "--host", running.url)).toContain("is running already");
    await using stopped = await podWith(vm({ status: "stopped" }));
    expect(await dstack("stop", "web", "--host", stopped.url)).toContain("is not running");
  });
});

describe("dstack deploy", () => {
  it("K7: encrypts variables to no key that the KMS has not signed for the app", async () => {
    const kms = await CertificateAuthority.create({ commonName: "kms" });
    const stranger = await CertificateAuthority.create({ commonName: "kms" });
    const publicKey = new Uint8Array(32).fill(9);
    let signer: CertificateAuthority | undefined;
    await using pod = await fakeTeepod({
      listImages: async () => ({ images: [{ name: "dstack-0.1.0" }] }),
      getAppEnvEncryptPubKey: async ({ appId }: teepod.AppId) => ({
        publicKey,
        ...(signer !== undefined && { rootSignature: signEnvKey(signer.key, parseAppId(appId), publicKey) }),
        kmsCaCert: stranger.certPem,
      }),
    });
    const ca = join(dir, "kms-root.pem");
    await writeFile(ca, kms.certPem);
    const deploy = (...more: string[]) => dstack("deploy", file, "--host", pod.url, "--env", "A=1", ...more);
    await expect(deploy()).rejects.toThrow("no KMS is known here: give --kms-ca");
    await expect(deploy("--kms-ca", file)).rejects.toThrow("is not a certificate");
    await expect(deploy("--kms-ca", ca)).rejects.toThrow("is not signed");
    signer = stranger;
    await expect(deploy("--kms-ca", ca)).rejects.toThrow("not signed by that KMS for that app");
    signer = kms;
    // The fake creates nothing: this far only a signed key comes.
    await expect(deploy("--kms-ca", ca)).rejects.toThrow("internal error");
  });

  it("encrypts variables to the app, and names them in its document", async () => {
    const kms = await CertificateAuthority.create({ commonName: "kms" });
    const ca = join(dir, "kms-root.pem");
    await writeFile(ca, kms.certPem);
    const { publicKey, privateKey } = generateKeyPairSync("x25519");
    const raw = new Uint8Array(publicKey.export({ type: "spki", format: "der" }).subarray(-32));
    const secret = privateKey.export({ type: "pkcs8", format: "der" }).subarray(-32);
    let created: teepod.VmConfiguration | undefined;
    await using pod = await fakeTeepod({
      listImages: async () => ({ images: [{ name: "dstack-0.1.0" }] }),
      getAppEnvEncryptPubKey: async ({ appId }: teepod.AppId) => ({
        publicKey: raw,
        rootSignature: signEnvKey(kms.key, parseAppId(appId), raw),
      }),
      createVm: async (request: teepod.VmConfiguration) => {
        created = request;
        return { id: ready.id };
      },
      getInfo: async () => ({ found: true, info: ready }),
    });
    vi.stubEnv("OTHER", "from the shell");
    const out = await dstack(
      "deploy",
      file,
      "--host",
      pod.url,
      "--env",
      "SECRET=x=y",
      "--env",
      "OTHER",
      "--kms-ca",
      ca,
    );
    vi.unstubAllEnvs();
    expect(out).toBe(`${ready.id}\nhttps://${APP}.app.localhost:9443\n`);
    expect(decryptEnv(secret, created?.encryptedEnv ?? new Uint8Array())).toEqual([
      { key: "SECRET", value: "x=y" },
      { key: "OTHER", value: "from the shell" },
    ]);
    expect(JSON.parse(created?.composeFile ?? "")).toMatchObject({ allowed_envs: ["SECRET", "OTHER"] });
  });
});

describe("waiting for a boot", () => {
  const wait = async (info: VmInit, signal: AbortSignal, limitMs = 60_000): Promise<unknown> => {
    await using pod = await fakeTeepod({ getInfo: async () => ({ found: true, info }) });
    return await waitReady({
      client: teepodClient(pod),
      id: "x",
      progress: new Progress(true),
      limitMs,
      signal,
    });
  };

  it("says that the VM goes on when the wait is interrupted or takes too long", async () => {
    await expect(wait(vm({}), AbortSignal.abort())).rejects.toMatchObject({
      exitCode: 130,
      message: "interrupted; the VM goes on booting: `dstack logs -f x` shows its console",
    });
    await expect(wait(vm({}), new AbortController().signal, 100)).rejects.toThrow(
      "not ready after 0.1 s; the VM goes on booting",
    );
  });

  it("ends with the reason of a boot that failed", async () => {
    const { signal } = new AbortController();
    await expect(wait(vm({ bootError: "kms: refused" }), signal)).rejects.toThrow(
      "booting failed: kms: refused",
    );
    await expect(wait(vm({ status: "exited" }), signal)).rejects.toThrow("the VM has exited");
  });
});
