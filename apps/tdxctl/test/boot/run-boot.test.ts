import { appIdOfCompose, hex, parseAppId, sha256, utf8 } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import { CertificateAuthority, encryptEnv, generateP256 } from "@dstack/ra-tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { newInstanceId } from "../../src/boot/identity.js";
import { runBoot } from "../../src/boot/run-boot.js";
import type { RawShare } from "../../src/boot/share.js";
import { FakeDisk, FakeGuest, ROOTFS_HASH } from "./fake-guest.js";
import { startSite } from "./site.js";
import type { Site } from "./site.js";

let site: Site;
beforeAll(async () => {
  site = await startSite();
});
afterAll(() => site[Symbol.asyncDispose]());
afterEach(() => {
  site.seen.length = 0;
  site.registered.length = 0;
  site.fresh.length = 0;
  site.hasChallenges = true;
  site.onGetAppKey = (answer) => answer;
});

const guest = (share: RawShare, disk = new FakeDisk()): Promise<FakeGuest> =>
  FakeGuest.create(share, site.provider(), disk);

/** What the next boot of the same instance starts with. */
const again = (first: FakeGuest, changes: Partial<RawShare> = {}, compose: object = {}): Promise<FakeGuest> =>
  guest(site.share({ instanceInfo: utf8(first.instanceInfo ?? ""), ...changes }, compose), first.dataDisk);

const failure = (booted: FakeGuest): string | undefined =>
  booted.progress.find((line) => line.state === "error")?.message;

describe("runBoot", () => {
  it("takes a new instance from nothing to its running app", async () => {
    const encryptedEnv = encryptEnv(site.envPublicKey, [{ key: "TOKEN", value: "s3cret" }]);
    await using system = await guest(site.share({ encryptedEnv }));
    const result = await runBoot(system);

    expect(result.appId).toBe(appIdOfCompose(site.share().appCompose));
    expect(site.seen[0]).toMatchObject({
      appId: result.appId,
      instanceId: result.instanceId,
      rootfsHash: ROOTFS_HASH,
      composeHash: hex(sha256(site.share().appCompose)),
      systemReady: false,
    });
    expect(site.registered).toEqual([result.instanceId]);
    const done = system.progress.filter((line) => line.state === "done").map((line) => line.step);
    expect(done.slice(0, 9)).toEqual([
      "prepare",
      "read-share",
      "identity",
      "ra-tls",
      "kms",
      "data-disk",
      "environment",
      "wireguard",
      "system-ready",
    ]);
    // The last two run side by side.
    expect(new Set(done.slice(9, 11))).toEqual(new Set(["tappd", "compose"]));
    expect(done.slice(11)).toEqual(["ready"]);
    expect(await system.eventNames()).toEqual([
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
    expect(system.project).toMatchObject({ name: "hello", environment: { TOKEN: "s3cret" } });
    expect(JSON.parse(system.instanceInfo ?? "")).toEqual({
      bootstrapped: true,
      instance_id: result.instanceId,
      instance_salt: expect.stringMatching(/^[0-9a-f]{40}$/),
      app_id: result.appId,
    });
  });

  it("keeps its ids and its disk over a reboot, and its app id over an upgrade", async () => {
    await using first = await guest(site.share());
    const { appId, instanceId } = await runBoot(first);
    await using second = await again(first);
    expect(await runBoot(second)).toEqual({ appId, instanceId });
    expect(second.calls).not.toContain("format");
    expect(second.calls).not.toContain("mkfs");

    await using upgraded = await again(second, {}, { docker_compose_file: "services: { next: {} }" });
    expect(await runBoot(upgraded)).toEqual({ appId, instanceId });
    const peer = site.seen.at(-1);
    expect(peer?.appId).toBe(appId);
    expect(peer?.upgradedAppId).not.toBe(appId);
  });

  it("does not join a tunnel that the compose document does not ask for", async () => {
    await using system = await guest(site.share({}, { features: ["kms"] }));
    await runBoot(system);
    expect(site.registered).toEqual([]);
    expect(system.calls).not.toContain("wireguard");
  });

  it("E5: system-ready is measured before tappd, and before an engine that could find old containers", async () => {
    await using first = await guest(site.share());
    await runBoot(first);
    // Nothing can be on a disk that was just made: here the engine may start ahead.
    expect(first.calls).toContain("docker before system-ready");
    expect(first.calls).toContain("tappd after system-ready");
    await using second = await again(first);
    await runBoot(second);
    expect(second.calls).toContain("docker after system-ready");
    expect(second.calls).toContain("tappd after system-ready");
  });

  it("starts the app while tappd is starting, and is ready when both are", async () => {
    await using system = await guest(site.share());
    let appStarted = (): void => {};
    const app = new Promise<void>((resolve) => (appStarted = resolve));
    system.startTappd = () => app;
    system.composeUp = async () => appStarted();
    await runBoot(system);
    expect(system.progress.at(-1)).toMatchObject({ step: "ready", state: "done" });
  });

  it("G7: containers that are given a scoped socket start when tappd has made it", async () => {
    await using system = await guest(site.share({}, { sockets: { worker: ["quote"] } }));
    const order: string[] = [];
    system.startTappd = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      order.push("tappd answers");
    };
    system.composeUp = async () => void order.push("containers");
    await runBoot(system);
    expect(order).toEqual(["tappd answers", "containers"]);
  });

  it("G7: a scope that is none ends the boot before anything is measured", async () => {
    await using system = await guest(site.share({}, { sockets: { worker: ["all"] } }));
    await expect(runBoot(system)).rejects.toThrow(/socket "worker": a scope must be/);
  });

  it("stops the app's start when tappd fails", async () => {
    await using system = await guest(site.share());
    system.startTappd = async () => {
      throw new Error("no keys");
    };
    system.composeUp = (_project, signal) =>
      new Promise<void>((_resolve, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason as Error)),
      );
    await expect(runBoot(system)).rejects.toThrow("tappd: no keys");
    expect(failure(system)).toBe("tappd: no keys");
  });

  it("E3: containers of an earlier compose document do not run under the identity of the next", async () => {
    await using first = await guest(site.share());
    await runBoot(first);
    await using same = await again(first);
    await runBoot(same);
    expect(same.calls).toContain("keep old containers");
    // Another name makes another compose project, in which the old containers are not even orphans.
    const next = { name: "another name", docker_compose_file: "services: { next: {} }" };
    await using failing = await again(same, {}, next);
    failing.startDocker = async () => {
      throw new Error("power failed");
    };
    await expect(runBoot(failing)).rejects.toThrow("power failed");
    await using upgraded = await again(same, {}, next);
    await runBoot(upgraded);
    expect(upgraded.calls).toContain("remove old containers");
    await using settled = await again(upgraded, {}, next);
    await runBoot(settled);
    expect(settled.calls).toContain("keep old containers");
  });

  it("G1: the boot works with one copy of the share", async () => {
    await using system = await guest(site.share());
    let reads = 0;
    const readShare = system.readShare.bind(system);
    system.readShare = async () => {
      reads += 1;
      return readShare();
    };
    await runBoot(system);
    expect(reads).toBe(1);
    expect(system.runFiles.get("app-compose.json")).toBe(Buffer.from(site.share().appCompose).toString());
  });

  it("G2: a disk whose header was changed is not opened", async () => {
    await using first = await guest(site.share());
    await runBoot(first);
    first.dataDisk.bytes[5000] = 0x20;
    await using second = await again(first);
    await expect(runBoot(second)).rejects.toThrow(
      "data-disk: data disk header: the first area has a wrong checksum",
    );
    expect(second.calls.some((call) => call.startsWith("open"))).toBe(false);
    expect(second.calls).not.toContain("format");
  });

  it("G3: a disk with something on it is not formatted for a new instance", async () => {
    const disk = new FakeDisk();
    disk.bytes[1080] = 0x53; // the magic of an ext4 file system
    await using system = await guest(site.share(), disk);
    await expect(runBoot(system)).rejects.toThrow(
      "data-disk: data disk header: the first area has no LUKS2 magic",
    );
    expect(system.calls).not.toContain("format");
  });

  it("G3: an instance that lost its disk does not get an empty one", async () => {
    await using first = await guest(site.share());
    await runBoot(first);
    await using second = await guest(site.share({ instanceInfo: utf8(first.instanceInfo ?? "") }));
    await expect(runBoot(second)).rejects.toThrow(
      "data-disk: the data disk is blank, but this instance has had data",
    );
    expect(second.calls).not.toContain("format");
  });

  it("G3: a boot that ended after formatting finds its disk again", async () => {
    await using first = await guest(site.share());
    const makeFileSystem = first.dataDisk.makeFileSystem.bind(first.dataDisk);
    first.dataDisk.makeFileSystem = async () => {
      throw new Error("power failed");
    };
    await expect(runBoot(first)).rejects.toThrow("power failed");
    expect(JSON.parse(first.instanceInfo ?? "")).toMatchObject({ bootstrapped: false });
    first.dataDisk.makeFileSystem = makeFileSystem;
    await using second = await again(first);
    await runBoot(second);
    expect(JSON.parse(second.instanceInfo ?? "")).toMatchObject({
      bootstrapped: true,
      instance_id: (JSON.parse(first.instanceInfo ?? "") as { instance_id: string }).instance_id,
    });
  });

  it("refuses a disk that says it belongs to another instance", async () => {
    await using first = await guest(site.share());
    await runBoot(first);
    const appId = parseAppId(site.seen[0]?.appId ?? "");
    const salt = new Uint8Array(20).fill(13);
    const info = {
      bootstrapped: true,
      instance_id: newInstanceId(salt, appId),
      instance_salt: hex(salt),
      app_id: appId,
    };
    await using second = await again(first, { instanceInfo: utf8(JSON.stringify(info)) });
    await expect(runBoot(second)).rejects.toThrow("the data disk belongs to another instance");
  });

  it("E12: an instance id that the host made up measures nothing and registers nowhere", async () => {
    await using first = await guest(site.share());
    await runBoot(first);
    site.registered.length = 0;
    const info = { ...(JSON.parse(first.instanceInfo ?? "") as object), instance_id: "d".repeat(40) };
    await using second = await again(first, { instanceInfo: utf8(JSON.stringify(info)) });
    await expect(runBoot(second)).rejects.toThrow("instance_id was not made from instance_salt");
    // Nor that of an instance of another app.
    const stolen = { ...(JSON.parse(first.instanceInfo ?? "") as object), app_id: "d".repeat(40) };
    await using third = await again(first, { instanceInfo: utf8(JSON.stringify(stolen)) });
    await expect(runBoot(third)).rejects.toThrow("instance_id was not made from instance_salt");
    expect(site.registered).toEqual([]);
  });

  it("G4: keys are in no progress line, and tappd's file holds only what tappd needs", async () => {
    await using system = await guest(site.share());
    await runBoot(system);
    const told = JSON.stringify(system.progress) + system.calls.join("\n");
    const keys = system.runFiles.get("appkeys.json") ?? "";
    for (const secret of [site.diskKey, site.envKey]) {
      for (const text of [told, keys, ...system.runFiles.values()]) {
        expect(text).not.toContain(hex(secret));
        expect(text).not.toContain(Buffer.from(secret).toString("base64"));
      }
    }
    expect(told).not.toContain("PRIVATE KEY");
    expect(told).not.toContain(/PrivateKey = (.*)/.exec(system.tunnel)?.[1]);
  });

  it("G5: the firewall stands before the tunnel does", async () => {
    await using system = await guest(site.share());
    await runBoot(system);
    expect(system.calls.indexOf("firewall")).toBeLessThan(system.calls.indexOf("wireguard"));
    expect(system.firewall).toContain("ip saddr != { 10.9.0.1 } drop");
    expect(system.firewall).toContain("tcp dport != { 8043, 8090, 8443 } drop");
    expect(system.calls).toContain("address 10.9.0.2/32");
    expect(system.calls).toContain("route 10.9.0.1/32");
  });

  it("K7: an environment that is not right stops the boot before anything of the app starts", async () => {
    const encryptedEnv = encryptEnv(site.envPublicKey, [{ key: "OTHER", value: "x" }]);
    await using system = await guest(site.share({ encryptedEnv }));
    await expect(runBoot(system)).rejects.toThrow('environment: the encrypted environment sets "OTHER"');
    expect(system.calls).not.toContain("compose");
    expect(system.calls.some((call) => call.startsWith("tappd"))).toBe(false);
    expect(await system.measured("system-ready")).toBe(false);
  });

  it("E13: asks for its keys with evidence for this connection, and again when the KMS did not take it", async () => {
    let refusals = 1;
    site.onGetAppKey = (answer) => {
      refusals -= 1;
      if (refusals >= 0) throw new RpcError("conflict", "the challenge has expired");
      return answer;
    };
    await using system = await guest(site.share());
    await runBoot(system);
    expect(site.fresh).toEqual([true, true]);
    expect(system.progress.find((line) => line.state === "info")?.message).toContain("has expired");
  });

  it("takes its keys from a KMS that has no challenges yet", async () => {
    site.hasChallenges = false;
    await using system = await guest(site.share());
    await runBoot(system);
    expect(site.fresh).toEqual([false]);
  });

  it("says in one sentence what the KMS said", async () => {
    site.onGetAppKey = () => {
      throw new RpcError("permission_denied", "upgrade of this app is not allowed");
    };
    await using system = await guest(site.share());
    await expect(runBoot(system)).rejects.toThrow("kms: the KMS refused: upgrade of this app is not allowed");
    expect(failure(system)).toBe("kms: the KMS refused: upgrade of this app is not allowed");
    expect(await system.measured("key-provider")).toBe(false);
  });

  it("does not talk to a KMS of another CA than the measured one", async () => {
    const other = await CertificateAuthority.create({ commonName: "somebody" });
    await using system = await guest(site.share({ caCert: utf8(other.certPem) }));
    const stop = new AbortController();
    const report = system.report.bind(system);
    system.report = async (line) => {
      await report(line);
      if (line.state === "info") stop.abort(new Error("seen enough"));
    };
    await expect(runBoot(system, { signal: stop.signal })).rejects.toThrow("kms");
    expect(system.progress.find((line) => line.state === "info")?.message).toContain("does not answer yet");
    expect(site.seen).toEqual([]);
  });

  it.each([
    ["a chain of another CA", async () => ({ certificateChain: [await strayCa()] }), "does not belong to"],
    ["another app key", async () => ({ appKey: generateP256().privateKeyPem }), "does not belong"],
    ["a short disk key", async () => ({ diskCryptKey: new Uint8Array(8) }), "a disk key of 8 bytes"],
    ["no environment key", async () => ({ envCryptKey: new Uint8Array(0) }), "an environment key of 0 bytes"],
    ["no certificates", async () => ({ certificateChain: [] }), "a chain of 0 certificates"],
    ["text for a certificate", async () => ({ certificateChain: ["hello"] }), "not a PEM"],
  ])("refuses keys that do not belong together: %s", async (_what, change, message) => {
    const changes = await change();
    site.onGetAppKey = (answer) => ({ ...answer, ...changes });
    await using system = await guest(site.share());
    await expect(runBoot(system)).rejects.toThrow(message);
    expect(await system.measured("key-provider")).toBe(false);
  });

  it("refuses a chain whose certificate is signed by nobody it names", async () => {
    site.onGetAppKey = (answer) => ({ ...answer, certificateChain: answer.certificateChain.slice(0, 1) });
    await using fine = await guest(site.share());
    await runBoot(fine); // the root itself need not be sent
    const stray = await CertificateAuthority.create({ commonName: "test KMS" });
    site.onGetAppKey = (answer) => ({
      ...answer,
      certificateChain: [answer.certificateChain[0] ?? "", stray.certPem],
    });
    await using system = await guest(site.share());
    await expect(runBoot(system)).rejects.toThrow("ends at another certificate than the measured CA");
  });

  it("refuses a machine that has measured something already", async () => {
    await using first = await guest(site.share());
    await runBoot(first);
    first.progress.length = 0;
    await expect(runBoot(first)).rejects.toThrow("this machine has booted");
  });

  it("refuses a share without a CA, or with two", async () => {
    await using none = await guest(site.share({ caCert: undefined }));
    await expect(runBoot(none)).rejects.toThrow("read-share: the host share has no certs/ca.cert");
    const ca = site.share().caCert ?? new Uint8Array();
    await using two = await guest(site.share({ caCert: Buffer.concat([ca, ca]) }));
    await expect(runBoot(two)).rejects.toThrow("must hold one certificate");
  });
});

async function strayCa(): Promise<string> {
  return (await CertificateAuthority.create({ commonName: "stray" })).certPem;
}
