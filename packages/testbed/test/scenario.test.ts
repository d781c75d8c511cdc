import { open as openFile, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { fileURLToPath } from "node:url";
import {
  PolicyConfig,
  allowedImage,
  checkPolicy,
  simulatedAnchor,
  verifyEvidence,
} from "@dstack/attestation";
import type { EventLogEntry } from "@dstack/attestation";
import { appIdOfCompose, fromHex, hex, sha256, sha512, utf8 } from "@dstack/core";
import { kms } from "@dstack/proto";
import { createClient } from "@dstack/prpc";
import { raTlsTransport } from "@dstack/ra-rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Testbed } from "../src/index.js";

const run = promisify(execFile);
const allowUpgrade = fileURLToPath(new URL("../../../scripts/kms-allow-upgrade.sh", import.meta.url));

const compose = (name: string, more: Record<string, unknown> = {}): string =>
  JSON.stringify({
    manifest_version: 1,
    name,
    runner: "docker-compose",
    docker_compose_file: "services:\n  web:\n    image: hello\n",
    docker_config: {},
    features: ["kms", "tproxy-net"],
    public_logs: true,
    public_sysinfo: true,
    ...more,
  });

const idOf = (text: string): string => appIdOfCompose(utf8(text));

describe("a deploy from end to end, in one process", () => {
  let net: Testbed;
  const document = compose("hello");
  const appId = idOf(document);
  let vmId: string;

  beforeAll(async () => {
    net = await Testbed.start();
  });
  afterAll(async () => {
    await net[Symbol.asyncDispose]();
  });

  it("steps 1-9: a created VM boots, gets its keys and says it is ready", async () => {
    const info = await net.deploy(document);
    vmId = info.id;
    expect(info).toMatchObject({ status: "running", appId });
    expect(info.bootError).toBeUndefined();
    expect(info.bootProgress).toMatch(/^ready/);
    expect(info.instanceId).toMatch(/^[0-9a-f]{40}$/);
  });

  it("step 4: RTMR3 holds the identity events in their order, and system-ready last", async () => {
    const guest = net.hypervisor.guests.get(vmId);
    const events =
      (await guest?.eventLog())
        ?.trim()
        .split("\n")
        .map((line) => JSON.parse(line) as EventLogEntry) ?? [];
    expect(events.map((event) => event.event)).toEqual([
      "system-preparing",
      "rootfs-hash",
      "app-id",
      "compose-hash",
      "upgraded-app-id",
      "ca-cert-hash",
      "instance-id",
      "boot-mr-done",
      "key-provider",
      "system-ready",
    ]);
    const payload = (name: string): string | undefined =>
      events.find((event) => event.event === name)?.event_payload;
    expect(payload("app-id")).toBe(appId);
    expect(payload("compose-hash")).toBe(hex(sha256(document)));
  });

  it("step 6, E13: the KMS gave the keys for evidence that was made for the guest's connection", async () => {
    await using transport = raTlsTransport({
      url: net.kms.url,
      caPem: await readFile(net.path("kms", "root-ca.pem"), "utf8"),
    });
    expect((await createClient(kms.KMS, transport).getMeta({})).allowedMrs).toContain(
      "fresh_evidence required",
    );
  });

  it("step 6, K5: the issue is in the KMS's log", async () => {
    expect(await readFile(net.path("kms", "log", "issued.log"), "utf8")).toContain(appId);
  });

  it("step 10: a request is routed by name to the app, and by port to tappd", async () => {
    expect(await net.fetch(appId)).toEqual({ status: 200, body: "hello from hello" });
    expect((await net.fetch(`${appId}-8090`, "/prpc/Worker.Info")).body).toContain(appId);
    await expect(net.fetch("0".repeat(40))).rejects.toThrow();
  });

  it("steps 11 and 12: the app's quote over a caller's nonce verifies, for this app, this image and no other nonce", async () => {
    const nonce = "00ff".repeat(16);
    const { body } = await net.fetch(appId, `/quote?nonce=${nonce}`);
    const { quote, event_log: eventLog } = JSON.parse(body) as { quote: string; event_log: string };
    const now = Math.floor(Date.now() / 1000);
    const input = {
      quote: fromHex(quote),
      eventLog,
      collateral: net.platform.collateral(now),
      now,
      anchors: [simulatedAnchor(net.platform.rootCertificatePem)],
      reportData: sha512("app-data:", fromHex(nonce)),
    };
    const evidence = verifyEvidence(input);
    expect(evidence.identity).toMatchObject({ appId, composeHash: hex(sha256(document)), systemReady: true });
    const { launch } = net;
    const policyFor = (allowed: typeof launch) =>
      PolicyConfig.parse({
        insecure_simulated_roots: ["the testbed's"],
        images: { allowed: [allowedImage("the testbed's", allowed)] },
      });
    checkPolicy(evidence, policyFor(launch));
    expect(() => checkPolicy(evidence, policyFor({ ...launch, rtmr1: "00".repeat(48) }))).toThrow(/RTMR1/i);
    expect(() => verifyEvidence({ ...input, reportData: sha512("app-data:", "another nonce") })).toThrow();
  });

  it("a VM that was stopped and started finds its instance and its disk again", async () => {
    const before = (await net.teepod.getInfo({ id: vmId })).info;
    const after = await net.restart(vmId);
    expect(after.bootError).toBeUndefined();
    expect(after.instanceId).toBe(before?.instanceId);
    expect(await net.fetch(appId)).toMatchObject({ status: 200 });
  });

  it("K2: an upgrade is refused until exactly that pair is allowed, then keeps app id and disk", async () => {
    const upgraded = compose("hello again");
    const newAppId = idOf(upgraded);
    const before = (await net.teepod.getInfo({ id: vmId })).info;
    expect(await net.teepod.upgradeApp({ id: vmId, composeFile: upgraded })).toMatchObject({ id: newAppId });

    const refused = await net.restart(vmId);
    expect(refused.bootError).toContain("upgrade");
    expect(refused.bootError).toContain(newAppId);

    const script = (...ids: string[]) =>
      run(allowUpgrade, ids, { env: { ...process.env, KMS_UPGRADE_REGISTRY: net.path("kms", "upgrades") } });
    await script(appId, idOf(compose("something else")));
    expect((await net.restart(vmId)).bootError, "another pair's permission is none").toContain("upgrade");
    await script(appId, newAppId);
    const allowed = await net.restart(vmId);
    expect(allowed.bootError).toBeUndefined();
    expect(allowed).toMatchObject({ appId, instanceId: before?.instanceId });
    expect((await net.fetch(appId)).body).toBe("hello from hello-again");
  });

  it("a removed VM leaves no directory, and its name leads nowhere", async () => {
    await net.teepod.stopVm({ id: vmId });
    await net.teepod.removeVm({ id: vmId });
    expect((await net.teepod.status({})).vms).toEqual([]);
    await expect(readFile(net.path("vms", vmId, "manifest.json"))).rejects.toThrow("ENOENT");
    // The lease outlives the VM, so that a VM that comes back has its address; nobody answers there.
    expect(await net.fetch(appId)).toMatchObject({ status: 502 });
  });
});

describe("refusals, each with the right reason in boot_error", () => {
  it("E9: the KMS gives no keys to an image that is not on its list", async () => {
    await using net = await Testbed.start({
      allowedRegisters: (image) => ({ ...image, rtmr2: "ab".repeat(48) }),
    });
    const info = await net.deploy(compose("hello"));
    expect(info.bootError).toMatch(/RTMR2/i);
  });

  it("E9: a KMS with an empty list does not start", async () => {
    const starting = Testbed.start({
      kms: (config) => ({ ...config, attestation: { ...config.attestation, images: {} } }),
    });
    await expect(starting).rejects.toThrow(/allow/);
  });

  it("E10: a KMS that names no simulated root refuses the simulated platform", async () => {
    await using net = await Testbed.start({
      kms: (config) => ({ ...config, attestation: { ...config.attestation, insecure_simulated_roots: [] } }),
    });
    expect((await net.deploy(compose("hello"))).bootError).toMatch(/root|anchor|trusted/i);
  });

  it("E2: a guest whose log does not replay to its registers gets no keys", async () => {
    await using net = await Testbed.start();
    net.hypervisor.tamperProvider = (provider) => {
      const events = provider.bootEvents.bind(provider);
      provider.bootEvents = async () => (await events()).slice(1);
      return provider;
    };
    expect((await net.deploy(compose("hello"))).bootError).toMatch(/rtmr/i);
  });

  it("a root file system other than the measured one has no way to the keys of the app", async () => {
    await using net = await Testbed.start();
    net.hypervisor.tamperCmdline = (cmdline) => cmdline.replace(/rootfs_hash=\w+/, "");
    expect((await net.deploy(compose("hello"))).bootError).toMatch(/rootfs/i);
  });

  it("G3: a blank disk under an instance that had data is not formatted", async () => {
    await using net = await Testbed.start();
    const { id } = await net.deploy(compose("hello"));
    await net.teepod.stopVm({ id });
    await writeFile(net.path("vms", id, "hda.img"), new Uint8Array(128 * 1024 * 1024));
    expect((await net.restart(id)).bootError).toContain("not formatted again");
  });

  it("G2: a disk header with a null cipher is refused before the disk is opened", async () => {
    await using net = await Testbed.start();
    const { id } = await net.deploy(compose("hello"));
    await net.teepod.stopVm({ id });
    await using disk = await openFile(net.path("vms", id, "hda.img"), "r+");
    const header = Buffer.alloc(32 * 1024);
    await disk.read(header, 0, header.length, 0);
    for (const area of [header.subarray(0, 16 * 1024), header.subarray(16 * 1024)]) {
      area.write(area.toString("latin1").replaceAll("aes-xts-plain64", "cipher_null-ecb"), 0, "latin1");
      area.fill(0, 448, 512);
      Buffer.from(sha256(area)).copy(area, 448);
    }
    await disk.write(header, 0, header.length, 0);
    expect((await net.restart(id)).bootError).toMatch(/data disk header.*encryption/);
  });

  it("G1: a link in the share is refused", async () => {
    await using net = await Testbed.start();
    net.hypervisor.tamperFiles = (dir) => symlink("/etc/hostname", join(dir, "shared", "encrypted-env"));
    expect((await net.deploy(compose("hello"))).bootError).toContain("encrypted-env is a symbolic link");
  });

  it("a host that swaps the compose file gets another app, not this app's keys", async () => {
    await using net = await Testbed.start();
    const { id } = await net.deploy(compose("hello"));
    await net.teepod.stopVm({ id });
    net.hypervisor.tamperFiles = (dir) => writeFile(join(dir, "shared", "app-compose.json"), compose("evil"));
    expect((await net.restart(id)).bootError).toMatch(/the KMS refused.*upgrade/);
  });

  it("K1: nobody without a certificate asks for keys", async () => {
    await using net = await Testbed.start();
    await using transport = raTlsTransport({
      url: net.kms.url,
      caPem: await readFile(net.path("kms", "root-ca.pem"), "utf8"),
    });
    const client = createClient(kms.KMS, transport);
    await expect(client.getAppKey({})).rejects.toMatchObject({ code: "unauthenticated" });
    expect((await client.getMeta({})).allowedMrs.join("\n")).toContain("insecure_simulated_root");
  });
});
