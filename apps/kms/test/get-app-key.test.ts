import { X509Certificate, createPrivateKey, createPublicKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { INTEL_ROOT, raTlsReportData, runtimeEvent } from "@dstack/attestation";
import { hex, parseAppId, parseInstanceId, sha256 } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import {
  CertificateAuthority,
  decryptEnv,
  deriveAppKey,
  deriveDiskKey,
  encryptEnv,
  generateP256,
  k256Issuer,
  k256PublicKey,
  loadP256,
  readEvidence,
  requireEnvKeyOfKms,
} from "@dstack/ra-tls";
import { SimulatedPlatform, bareLaunch } from "@dstack/tdx-attest";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startKms } from "../src/index.js";
import type { Kms } from "../src/index.js";
import {
  anonymousClient,
  bootGuest,
  callRaw,
  certificateClient,
  guestClient,
  install,
  policy,
  start,
  verifierOf,
} from "./guest.js";
import type { Guest, GuestOptions, Installation } from "./guest.js";

let installation: Installation;
let server: Kms;

beforeAll(async () => {
  installation = await install({ subject_postfix: ".test" });
  server = await start(installation);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const guestOf = (options: Partial<GuestOptions> = {}): Promise<Guest> =>
  bootGuest({ caPem: installation.caPem, ...options });

async function keysOf(guest: Guest, of: Kms = server, from: Installation = installation) {
  await using client = await guestClient(from, of, guest);
  return await client.getAppKey();
}

/** Code and message of the refusal of a guest that asks for its keys. */
async function refusal(guest: Guest, of: Kms = server): Promise<{ code: string; message: string }> {
  try {
    await keysOf(guest, of);
  } catch (err) {
    if (err instanceof RpcError) return { code: err.code, message: err.message };
    throw err;
  }
  return { code: "released", message: "" };
}

async function issued(from: Installation = installation): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(from.dir, "log", "issued.log"), "utf8");
  const lines = text.split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line.slice(65)) as Record<string, unknown>);
}

describe("GetAppKey", () => {
  it("gives an attested guest the keys that follow from the root and its identity", async () => {
    const guest = await guestOf();
    const keys = await keysOf(guest);
    const rootKey = loadP256(await readFile(installation.config.core.root_ca_key, "utf8")).privateKey;
    const appId = parseAppId(guest.appId);
    const instanceId = parseInstanceId(guest.instanceId);
    expect(keys.appKey).toBe(deriveAppKey(rootKey, appId).privateKeyPem);
    expect(keys.diskCryptKey).toEqual(deriveDiskKey(rootKey, { mode: "v1", appId, instanceId }));
    expect(keys.diskCryptKey.length).toBe(32);
    expect(k256Issuer(appId, k256PublicKey(keys.k256Key), keys.k256Signature).length).toBe(33);
  });

  it("gives a chain, leaf first, of a CA certificate with the app's key and id that the root signed", async () => {
    const guest = await guestOf();
    const keys = await keysOf(guest);
    expect(keys.certificateChain.length).toBe(2);
    const [leaf, root] = keys.certificateChain.map((pem) => new X509Certificate(pem));
    expect(root?.fingerprint256).toBe(new X509Certificate(installation.caPem).fingerprint256);
    expect(leaf?.verify(createPublicKey(installation.caPem))).toBe(true);
    expect(leaf?.checkPrivateKey(createPrivateKey(keys.appKey))).toBe(true);
    expect(leaf?.ca).toBe(true);
    expect(leaf?.subject).toBe(`CN=${guest.appId}.test`);
    // The extension that names the app: 20 bytes in an OCTET STRING.
    expect(hex(new Uint8Array(leaf?.raw ?? []))).toContain(`0414${guest.appId}`);
    expect(readEvidence(new Uint8Array(leaf?.raw ?? []))).toBeUndefined();
    // It can issue what tappd hands out.
    const ca = CertificateAuthority.load(keys.certificateChain.join(""), keys.appKey);
    const issuedByApp = await ca.issue({
      publicKey: generateP256().publicKey,
      commonName: "app",
      usages: ["serverAuth"],
      notAfter: new Date(Date.now() + 60_000),
    });
    expect(new X509Certificate(issuedByApp).checkIssued(new X509Certificate(ca.certPem))).toBe(true);
  });

  it("gives all instances of an app one app key, and each its own disk key", async () => {
    const one = await keysOf(await guestOf({ instance: "one" }));
    const two = await keysOf(await guestOf({ instance: "two" }));
    const other = await keysOf(await guestOf({ compose: "other app" }));
    expect(two.appKey).toBe(one.appKey);
    expect(two.diskCryptKey).not.toEqual(one.diskCryptKey);
    expect(other.appKey).not.toBe(one.appKey);
    expect(other.envCryptKey).not.toEqual(one.envCryptKey);
  });

  it("K7: gives the secret to the key that GetAppEnvEncryptPubKey gave the deployer, signed by the root", async () => {
    const guest = await guestOf();
    await using deployer = anonymousClient(installation, server);
    const answer = await deployer.getAppEnvEncryptPubKey({ appId: guest.appId });
    requireEnvKeyOfKms(installation.caPem, parseAppId(guest.appId), answer);
    const { publicKey } = answer;
    const blob = encryptEnv(publicKey, [{ key: "A", value: "1" }]);
    const { envCryptKey } = await keysOf(guest);
    expect(decryptEnv(envCryptKey, blob)).toEqual([{ key: "A", value: "1" }]);
  });

  it("K3: gives disk keys as the original did in mode seed", async () => {
    const seed = await install({ disk_key_mode: "seed" });
    await using old = await start(seed);
    const guest = await bootGuest({ caPem: seed.caPem });
    const keys = await keysOf(guest, old, seed);
    expect(
      createPrivateKey({ key: Buffer.from(keys.diskCryptKey), format: "der", type: "pkcs8" })
        .asymmetricKeyType,
    ).toBe("ec");
  });

  it("answers a JSON call with curl's habits", async () => {
    await using client = anonymousClient(installation, server);
    expect((await client.getMeta()).caCert).toBe(installation.caPem);
    const answer = await callRaw(
      server,
      installation.caPem,
      "/prpc/KMS.GetAppEnvEncryptPubKey?json",
      JSON.stringify({ app_id: "ab".repeat(20) }),
    );
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body)).toMatchObject({ public_key: expect.stringMatching(/^[0-9a-f]{64}$/) });
  });

  it("K5: logs every certificate, with the certificate and whom it was for, before it answers", async () => {
    const guest = await guestOf({ instance: "logged" });
    const keys = await keysOf(guest);
    const entry = (await issued()).at(-1);
    expect(entry).toMatchObject({
      kind: "app-ca",
      app_id: guest.appId,
      instance_id: guest.instanceId,
      anchor: "simulated",
      tcb_status: "UpToDate",
      ppid: expect.stringMatching(/^[0-9a-f]{32}$/),
      certificate: new X509Certificate(keys.certificateChain[0] ?? "").raw.toString("base64"),
    });
  });
});

describe("GetAppKey refuses", () => {
  it("K1: a caller without a certificate with 401, before its body is there", async () => {
    await using client = anonymousClient(installation, server);
    await expect(client.getAppKey()).rejects.toMatchObject({ code: "unauthenticated" });
    const before = await callRaw(server, installation.caPem, "/prpc/KMS.GetAppKey?json", "{", {
      "content-length": "4000",
    });
    expect(before.status).toBe(401);
    expect(JSON.parse(before.body)).toEqual({ error: expect.stringContaining("certificate") });
  });

  it("K1: a certificate without evidence, even one that the KMS's own root signed", async () => {
    const ca = CertificateAuthority.load(
      installation.caPem,
      await readFile(installation.config.core.root_ca_key, "utf8"),
    );
    const key = generateP256();
    const notAfter = new Date(Date.now() + 60_000);
    const pem = await ca.issue({
      publicKey: key.publicKey,
      commonName: "me",
      usages: ["clientAuth"],
      notAfter,
    });
    await using client = certificateClient(installation, server, key, pem);
    await expect(client.getAppKey()).rejects.toMatchObject({ code: "unauthenticated" });
  });

  it("E1: a quote whose signature does not hold", async () => {
    const guest = await guestOf();
    const provider = {
      async getQuote(reportData: Uint8Array): Promise<Uint8Array> {
        const quote = await guest.provider.getQuote(reportData);
        quote[48 + 584 + 10] = (quote[48 + 584 + 10] ?? 0) ^ 1;
        return quote;
      },
    };
    expect(await refusal({ ...guest, provider })).toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("not signed"),
    });
  });

  it("E2: an event log that does not replay", async () => {
    const guest = await guestOf();
    const events = JSON.parse(guest.eventLog) as unknown[];
    const eventLog = JSON.stringify([...events, runtimeEvent("key-provider", new Uint8Array())]);
    expect(await refusal({ ...guest, eventLog })).toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("replay"),
    });
  });

  it("E3: a second app-id event", async () => {
    const victim = runtimeEvent("app-id", sha256("victim").subarray(0, 20));
    for (const at of [2, 3, 8]) {
      const guest = await guestOf({ edit: (events) => events.toSpliced(at, 0, victim) });
      expect((await refusal(guest)).code).toBe("permission_denied");
    }
  });

  it("E4: somebody else's quote", async () => {
    const guest = await guestOf();
    const stolen = await guest.provider.getQuote(raTlsReportData(generateP256().publicKeySpki));
    const got = await refusal({ ...guest, provider: { getQuote: async () => stolen } });
    expect(got).toMatchObject({ code: "permission_denied", message: expect.stringContaining("report data") });
  });

  it("E5: key release after system-ready", async () => {
    const ready = runtimeEvent("system-ready", new Uint8Array());
    const guest = await guestOf({ edit: (events) => [...events, ready] });
    expect(await refusal(guest)).toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("system-ready"),
    });
  });

  it("E6: a debug TD", async () => {
    const guest = await guestOf({
      parts: { td: { tdAttributes: Uint8Array.of(1, 0, 0, 0x10, 0, 0, 0, 0) } },
    });
    expect(await refusal(guest)).toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("debug"),
    });
  });

  it("E9: an image that is not allowed", async () => {
    const guest = await guestOf({ parts: { launch: bareLaunch("another image") } });
    expect(await refusal(guest)).toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("no allowed image has rtmr1"),
    });
  });

  it("E10: a simulated platform whose root is not named", async () => {
    const stranger = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(9));
    expect((await refusal(await guestOf({ parts: { platform: stranger } }))).code).toBe("permission_denied");
    await using strict = await start(installation, { verifier: await verifierOf({ anchors: [INTEL_ROOT] }) });
    expect((await refusal(await guestOf(), strict)).code).toBe("permission_denied");
  });

  it("K2: a guest that was started with another KMS's certificate", async () => {
    const other = await CertificateAuthority.create({ commonName: "test root" });
    const guest = await guestOf({ caPem: other.certPem });
    expect(await refusal(guest)).toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("another KMS"),
    });
  });

  it("any of these without a line in the issue log", async () => {
    const before = (await issued()).length;
    expect(
      (await refusal(await guestOf({ edit: (e) => [...e, runtimeEvent("system-ready", new Uint8Array())] })))
        .code,
    ).toBe("permission_denied");
    expect((await issued()).length).toBe(before);
  });
});

describe("E9: allow-list", () => {
  it("E9: an empty one keeps the KMS from starting", async () => {
    const attestation = { ...installation.config.attestation, images: { allow_all: false, allowed: [] } };
    await expect(startKms({ ...installation.config, attestation })).rejects.toThrow(/allow_all = true/);
  });

  it("E9: allow_all is spelled out on every surface", async () => {
    const verifier = await verifierOf({
      policy: policy({ images: { allow_all: true, allowed: [] } }),
    });
    await using lax = await start(installation, { verifier });
    expect((await refusal(await guestOf({ parts: { launch: bareLaunch("any image") } }), lax)).code).toBe(
      "released",
    );
    await using client = anonymousClient(installation, lax);
    const { allowedMrs } = await client.getMeta();
    expect(allowedMrs).toContain("allow_all");
  });
});
