import { createHash } from "node:crypto";
import { DstackClient, TappdClient01, TappdClient05 } from "@dstack/published-sdks";
import { parseQuote } from "@dstack/attestation";
import { fromHex, hex, sha384, sha512, utf8 } from "@dstack/core";
import { k256Issuer, k256PublicKey, readEvidence, pemToDer, recoverSigner } from "@dstack/ra-tls";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { bootGuest } from "./support/tappd-fixture.js";
import type { Guest } from "./support/tappd-fixture.js";

let guest: Guest;
let sockets: { tappd: string; dstack: string };

beforeAll(async () => {
  guest = await bootGuest();
  ({ sockets } = await guest.start());
});
afterAll(() => guest[Symbol.asyncDispose]());
beforeEach(() => {
  // The clients announce on the console where they connect to.
  vi.spyOn(console, "warn").mockReturnValue();
  vi.spyOn(console, "debug").mockReturnValue();
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

const reportDataOf = (quote: string): string => hex(parseQuote(fromHex(quote)).body.reportData);
const rtmrsOf = (quote: string): string[] =>
  parseQuote(fromHex(quote)).body.rtmr.map((register) => hex(register));

describe("@phala/dstack-sdk 0.1.7, unmodified", () => {
  it("finds its socket through DSTACK_SIMULATOR_ENDPOINT", async () => {
    vi.stubEnv("DSTACK_SIMULATOR_ENDPOINT", sockets.tappd);
    const { quote } = await new TappdClient01().tdxQuote("x");
    expect(reportDataOf(quote)).toBe(hex(sha512("app-data:", "x")));
  });

  it("TappdClient.deriveKey", async () => {
    const key = await new TappdClient01(sockets.tappd).deriveKey("a/path", "schlüssel", ["a.example"]);
    expect(key.key).toMatch(/^-----BEGIN PRIVATE KEY-----/);
    expect(key.certificate_chain).toHaveLength(3);
    expect(key.asUint8Array(32)).toHaveLength(32);
  });

  it("TappdClient.tdxQuote with every hash, and its replayRtmrs", async () => {
    const client = new TappdClient01(sockets.tappd);
    for (const algorithm of ["sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"] as const) {
      const { quote } = await client.tdxQuote("data", algorithm);
      const expected = createHash(algorithm).update("app-data:data").digest("hex");
      expect(reportDataOf(quote)).toBe(expected.padEnd(128, "0"));
    }
    const keccak = await client.tdxQuote("data", "keccak256");
    expect(reportDataOf(keccak.quote)).toBe(hex(keccak_256(utf8("app-data:data"))).padEnd(128, "0"));
    const raw = await client.tdxQuote("data", "raw");
    expect(reportDataOf(raw.quote)).toBe(hex(utf8("data")).padStart(128, "0"));
    expect(raw.replayRtmrs()).toEqual(rtmrsOf(raw.quote));
  });

  it("shows the server's sentence when it refuses", async () => {
    const client = new TappdClient01(sockets.tappd);
    await expect(client.tdxQuote("data", "md5" as "sha256")).rejects.toThrow(/unknown hash_algorithm/);
  });
});

describe("@phala/dstack-sdk 0.5.8 TappdClient, unmodified", () => {
  it("finds its socket through TAPPD_SIMULATOR_ENDPOINT and calls every method there", async () => {
    vi.stubEnv("TAPPD_SIMULATOR_ENDPOINT", sockets.tappd);
    const client = new TappdClient05();
    expect(await client.isReachable()).toBe(true);
    expect((await client.deriveKey("p")).certificate_chain).toHaveLength(3);
    const { quote, replayRtmrs } = await client.tdxQuote("data", "sha384");
    expect(reportDataOf(quote)).toBe(hex(sha384("app-data:data")).padEnd(128, "0"));
    expect(replayRtmrs()).toEqual(rtmrsOf(quote));
    expect((await client.info()).app_id).toBe(guest.appId);
    expect((await client.getKey("p")).key).toHaveLength(32);
  });
});

describe("@phala/dstack-sdk 0.5.8 DstackClient, unmodified", () => {
  let client: DstackClient;
  beforeEach(() => {
    vi.stubEnv("DSTACK_SIMULATOR_ENDPOINT", sockets.dstack);
    client = new DstackClient();
  });

  it("isReachable and version", async () => {
    expect(await client.isReachable()).toBe(true);
    expect(await client.version()).toMatchObject({
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string,
    });
  });

  it("info", async () => {
    const info = await client.info();
    expect(info).toMatchObject({
      app_id: guest.appId,
      instance_id: guest.instanceId,
      app_name: "hello",
      os_image_hash: "cd".repeat(32),
      tcb_info: { app_compose: guest.composeText, compose_hash: info.compose_hash },
    });
    expect(JSON.parse(info.key_provider_info)).toMatchObject({ name: "kms" });
    const { quote } = await client.getQuote("");
    const { tcb_info: tcb } = info;
    expect([tcb.rtmr0, tcb.rtmr1, tcb.rtmr2, tcb.rtmr3]).toEqual(rtmrsOf(quote));
    const { body } = parseQuote(fromHex(quote));
    const registers = createHash("sha256").update(body.mrTd);
    for (const register of body.rtmr) registers.update(register);
    expect([tcb.mrtd, tcb.mr_aggregated]).toEqual([hex(body.mrTd), registers.digest("hex")]);
  });

  it.each(["secp256k1", "ed25519"])("getKey(%s) and its chain to the KMS root", async (algorithm) => {
    const { key, signature_chain: chain } = await client.getKey("wallet", "ethereum", algorithm);
    const again = await client.getKey("wallet", "other", "secp256k1");
    expect(again.key).toEqual(key); // neither purpose nor algorithm is in the derivation of published agents
    expect((await client.getKey("other")).key).not.toEqual(key);

    const { ed25519 } = await import("@noble/curves/ed25519.js");
    const publicKey = algorithm === "ed25519" ? ed25519.getPublicKey(key) : k256PublicKey(key);
    const [overKey, overApp] = chain;
    if (overKey === undefined || overApp === undefined) throw new Error("chain is too short");
    const appKey = recoverSigner(utf8(`ethereum:${hex(publicKey)}`), overKey);
    expect(k256Issuer(guest.appId, appKey, overApp)).toEqual(guest.kms.k256Root);
  });

  it("getTlsKey, plain", async () => {
    const key = await client.getTlsKey({ subject: "web", altNames: ["web.example"], withAppInfo: true });
    expect(key.certificate_chain).toHaveLength(3);
    expect(key.asUint8Array(16)).toHaveLength(16);
    const again = await client.getTlsKey({ subject: "web" });
    expect(again.key).not.toBe(key.key);
  });

  it("getTlsKey with RA-TLS: evidence over the very key", async () => {
    const { certificate_chain: chain } = await client.getTlsKey({ usageRaTls: true });
    const evidence = readEvidence(pemToDer(chain[0] ?? ""));
    expect(evidence?.eventLog).toContain("system-ready");
  });

  it("getQuote pads on the right and returns what it quoted", async () => {
    const answer = await client.getQuote(Buffer.from([1, 2]));
    expect(answer.report_data).toBe(`0102${"00".repeat(62)}`);
    expect(reportDataOf(answer.quote)).toBe(answer.report_data);
    expect(answer.replayRtmrs()).toEqual(rtmrsOf(answer.quote));
    expect(JSON.parse(answer.vm_config ?? "")).toMatchObject({ vcpu: 2 });
  });

  it("attest", async () => {
    const { attestation } = await client.attest("nonce");
    const blob = JSON.parse(Buffer.from(attestation, "hex").toString()) as Record<string, string>;
    expect(blob).toMatchObject({ version: 1, platform: "simulated" });
    expect(reportDataOf(blob["quote"] ?? "")).toBe(hex(utf8("nonce")).padEnd(128, "0"));
  });

  it("emitEvent extends RTMR3 and later quotes carry it", async () => {
    const before = hex(await guest.provider.readRtmr(3));
    await client.emitEvent("my-event", "payload");
    const { quote, event_log, replayRtmrs } = await client.getQuote("");
    expect(rtmrsOf(quote)[3]).not.toBe(before);
    expect(replayRtmrs()).toEqual(rtmrsOf(quote));
    const events = JSON.parse(event_log) as { event: string; event_payload: string }[];
    expect(events.at(-1)).toMatchObject({ event: "my-event", event_payload: hex(utf8("payload")) });
    const info = await client.info();
    expect(info.tcb_info.rtmr3).toBe(rtmrsOf(quote)[3]);
  });

  it.each(["secp256k1", "ed25519", "secp256k1_prehashed"])("sign and verify (%s)", async (algorithm) => {
    const data = algorithm === "secp256k1_prehashed" ? Buffer.alloc(32, 9) : Buffer.from("data");
    const { signature, signature_chain: chain, public_key: publicKey } = await client.sign(algorithm, data);
    expect(await client.verify(algorithm, data, signature, publicKey)).toMatchObject({ valid: true });
    const other = Buffer.from(data);
    other[0] = 0;
    expect(await client.verify(algorithm, other, signature, publicKey)).toMatchObject({ valid: false });

    expect(chain[0]).toEqual(signature);
    const [, overKey, overApp] = chain;
    if (overKey === undefined || overApp === undefined) throw new Error("chain is too short");
    const appKey = recoverSigner(utf8(`signing:${hex(publicKey)}`), overKey);
    expect(k256Issuer(guest.appId, appKey, overApp)).toEqual(guest.kms.k256Root);
    if (algorithm === "secp256k1") {
      expect(secp256k1.verify(signature, data, publicKey)).toBe(true); // over SHA-256, 64 bytes, low s
    }
  });
});
