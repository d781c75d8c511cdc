import { webcrypto } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { INTEL_ROOT, raTlsReportData, runtimeEvent } from "@dstack/attestation";
import type { EventLogEntry } from "@dstack/attestation";
import { hex, sha256, sha384, utf8 } from "@dstack/core";
import { SimulatedPlatform, bareLaunch } from "@dstack/tdx-attest";
import { describe, expect, it } from "vitest";
import {
  AttestationConfig,
  CertificateAuthority,
  OID_EVENT_LOG,
  OID_QUOTE,
  PeerVerifier,
  VerifiedPeer,
  generateP256,
} from "../src/index.js";
import { octetString } from "../src/certificate-authority.js";
import { x509 } from "../src/x509.js";
import {
  NOW,
  appId,
  bootEvents,
  certificateOf,
  composeHash,
  instanceId,
  launch,
  platform,
  policyFor,
  startGuest,
  verifierParts,
} from "./guest.js";
import { tempDir } from "./temp.js";

const verifier = await PeerVerifier.create(verifierParts());
const good = await startGuest();

/** What verification of this certificate says no with. */
async function refusal(
  certificate: Promise<Uint8Array> | Uint8Array,
  by: PeerVerifier = verifier,
): Promise<string> {
  const outcome = await by.verifyPeer(await certificate).then(
    () => "accepted",
    (err: unknown) => (err instanceof Error ? `${err.name}: ${err.message}` : "not an Error"),
  );
  return outcome;
}

async function refusalOfEvents(events: readonly EventLogEntry[]): Promise<string> {
  return refusal(certificateOf(await startGuest(events)));
}

describe("verifyPeer", () => {
  it("lets everything else have its turn between the peers of a crowd", async () => {
    const certificates = await Promise.all(Array.from({ length: 10 }, () => certificateOf(good)));
    let [turn, isOver] = [0, false];
    const all = Promise.all(certificates.map((der) => verifier.verifyPeer(der).then(() => turn))).finally(
      () => (isOver = true),
    );
    while (!isOver) await new Promise<void>((resolve) => setImmediate(() => resolve(void turn++)));
    expect(new Set(await all).size).toBe(10);
  });

  it("accepts a guest's certificate and takes identity and measurements from the evidence", async () => {
    const key = generateP256();
    const peer = await verifier.verifyPeer(await certificateOf(good, {}, key));
    expect(peer).toMatchObject({
      appId: hex(appId),
      instanceId: hex(instanceId),
      composeHash: hex(composeHash),
      upgradedAppId: hex(appId),
      rootfsHash: hex(sha256("rootfs")),
      caCertHash: hex(sha256("kms ca")),
      systemReady: false,
      anchor: "simulated",
      tcbStatus: "UpToDate",
      advisories: [],
    });
    expect(peer.measurements).toMatchObject({
      mrtd: launch.mrtd,
      rtmr0: launch.rtmr0,
      rtmr1: launch.rtmr1,
      rtmr2: launch.rtmr2,
    });
    expect(peer.publicKeySpki).toEqual(key.publicKeySpki);
    expect(VerifiedPeer.is(peer)).toBe(true);
  });

  it("accepts the same certificate signed by a temporary CA, and one that names the app: neither counts", async () => {
    const issuer = await CertificateAuthority.create({ commonName: "temporary CA" });
    const own = hex(appId) as never;
    const peer = await verifier.verifyPeer(await certificateOf(good, { issuer, appId: own }));
    expect(peer.appId).toBe(hex(appId));
  });

  it("E3: refuses a certificate that names another app than its evidence", async () => {
    const other = hex(sha256("other").subarray(0, 20)) as never;
    expect(await refusal(certificateOf(good, { appId: other }))).toMatch(/^PeerError: .*another app/);
  });

  it("E11: fetches nothing for a quote whose chain ends at a root we do not trust", async () => {
    let fetched = 0;
    const careful = await PeerVerifier.create({
      ...verifierParts(),
      anchors: [INTEL_ROOT],
      collateral: {
        get: async (_keys, now) => {
          fetched += 1;
          return platform.collateral(now);
        },
      },
    });
    expect(await refusal(certificateOf(good), careful)).toContain("not one of the trusted roots");
    expect(fetched).toBe(0);
  });

  it("says that the system is ready", async () => {
    const guest = await startGuest([...bootEvents(), runtimeEvent("system-ready", new Uint8Array())]);
    expect(await verifier.verifyPeer(await certificateOf(guest))).toMatchObject({ systemReady: true });
  });

  it("makes the only VerifiedPeers: neither a copy nor the constructor gives one", async () => {
    const peer = await verifier.verifyPeer(await certificateOf(good));
    expect(VerifiedPeer.is({ ...peer })).toBe(false);
    expect(VerifiedPeer.is(Object.create(VerifiedPeer.prototype))).toBe(false);
    const make = VerifiedPeer as unknown as new (...args: unknown[]) => VerifiedPeer;
    expect(() => new make(Symbol("made by verifyPeer"), {}, new Uint8Array())).toThrow(TypeError);
  });

  it("K1: refuses a certificate without a quote, and says that evidence is missing", async () => {
    const key = generateP256();
    const ca = await CertificateAuthority.create({
      commonName: "any CA",
      key: key.privateKey,
      notAfter: new Date((NOW + 60) * 1000),
    });
    await expect(verifier.verifyPeer(ca.certDer)).rejects.toMatchObject({
      code: "no_evidence",
      rpcCode: "unauthenticated",
    });
  });

  it("E1: refuses a quote with any changed byte in its signed parts", async () => {
    const evil = (at: number) => ({
      provider: {
        async getQuote(reportData: Uint8Array): Promise<Uint8Array> {
          const quote = await good.provider.getQuote(reportData);
          quote[at] = (quote[at] ?? 0) ^ 1;
          return quote;
        },
      },
    });
    // Header, MRTD, RTMR3, report data, quote signature.
    for (const at of [20, 48 + 136, 48 + 472, 48 + 520, 48 + 584 + 4]) {
      expect(await refusal(certificateOf(good, evil(at))), `byte ${at}`).toMatch(/^QuoteError/);
    }
  });

  it("E1: refuses a platform whose PCK certificate was revoked", async () => {
    const revoked = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(1), { revoked: ["pck"] });
    const by = await PeerVerifier.create(
      verifierParts({ collateral: { get: async (_k, now) => revoked.collateral(now) } }),
    );
    expect(await refusal(certificateOf(good), by)).toMatch(/^QuoteError: .*revoked/);
  });

  it("E2: refuses an event log that was edited, reordered, cut or extended", async () => {
    const events = JSON.parse(good.eventLog) as EventLogEntry[];
    const lists: Record<string, EventLogEntry[]> = {
      "digest of a boot event": events.map((e, i) => (i === 0 ? { ...e, digest: hex(sha384("other")) } : e)),
      "event dropped": events.slice(0, -1),
      "event added": [...events, runtimeEvent("system-ready", new Uint8Array())],
      "events swapped": [...events.slice(0, -2), ...events.slice(-2).toReversed()],
    };
    for (const [what, list] of Object.entries(lists)) {
      expect(await refusal(certificateOf(good, { eventLog: JSON.stringify(list) })), what).toMatch(/replay/);
    }
  });

  it("E2: refuses a payload that its digest does not stand for, though the register replays", async () => {
    const other = sha256("victim").subarray(0, 20);
    const events = (JSON.parse(good.eventLog) as EventLogEntry[]).map((e) =>
      e.event === "app-id" ? { ...e, event_payload: hex(other) } : e,
    );
    expect(await refusal(certificateOf(good, { eventLog: JSON.stringify(events) }))).toMatch(/digest/);
  });

  it("E3: refuses identity twice, out of order, missing, or incomplete", async () => {
    const events = bootEvents();
    const second = runtimeEvent("app-id", sha256("victim").subarray(0, 20));
    const lists: Record<string, EventLogEntry[]> = {
      "two app ids": [...events.slice(0, 3), second, ...events.slice(3)],
      "app id after boot-mr-done": [...events, second],
      "out of order": [...events.slice(0, 2), ...events.slice(2, 4).toReversed(), ...events.slice(4)],
      "no instance id": events.filter((e) => e.event !== "instance-id"),
      "boot not done": events.slice(0, -1),
      "no event at all": [],
    };
    for (const [what, list] of Object.entries(lists)) {
      expect(await refusalOfEvents(list), what).toMatch(/^EvidenceError/);
    }
  });

  it("E3: does not read identity out of the app's own events", async () => {
    const after = [
      runtimeEvent("system-ready", new Uint8Array()),
      runtimeEvent("app-id", sha256("victim").subarray(0, 20)),
    ];
    const guest = await startGuest([...bootEvents(), ...after]);
    expect(await verifier.verifyPeer(await certificateOf(guest))).toMatchObject({ appId: hex(appId) });
  });

  it("E4: refuses a quote over another key", async () => {
    const victim = generateP256();
    const stolen = await good.provider.getQuote(raTlsReportData(victim.publicKeySpki));
    const provider = { getQuote: async () => stolen };
    expect(await refusal(certificateOf(good, { provider }))).toMatch(/report data/);
    expect(await refusal(certificateOf(good, { provider }, victim))).toBe("accepted");
  });

  it("E6: refuses debug and migratable TDs", async () => {
    const attributes = (...bytes: number[]) => ({ td: { tdAttributes: Uint8Array.of(...bytes) } });
    const cases = [
      attributes(1, 0, 0, 0x10, 0, 0, 0, 0),
      attributes(0, 0, 0, 0x30, 0, 0, 0, 0),
      attributes(0, 0, 0, 0, 0, 0, 0, 0),
      attributes(2, 0, 0, 0x10, 0, 0, 0, 0),
    ];
    for (const parts of cases) {
      expect(await refusal(certificateOf(await startGuest(bootEvents(), parts)))).toMatch(/^PolicyError/);
    }
  });

  it("E7: refuses an outdated platform and names its advisories", async () => {
    const outdated = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(1), {
      tcbStatus: "OutOfDate",
      tcbAdvisories: ["INTEL-SA-00837"],
    });
    const by = await PeerVerifier.create(
      verifierParts({ collateral: { get: async (_k, now) => outdated.collateral(now) } }),
    );
    expect(await refusal(certificateOf(good), by)).toMatch(/^PolicyError: .*OutOfDate.*INTEL-SA-00837/);
  });

  it("E8: refuses collateral past its next update", async () => {
    const collateral = { get: async () => platform.collateral(NOW - 40 * 86_400) };
    const by = await PeerVerifier.create(verifierParts({ collateral }));
    expect(await refusal(certificateOf(good), by)).toMatch(/^QuoteError/);
  });

  it("E8: refuses collateral older than what it verified before, though it is still in date", async () => {
    const newer = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(1), {
      editTcbInfo: (info) => (info.tcbEvaluationDataNumber += 1),
      editQeIdentity: (identity) => (identity.tcbEvaluationDataNumber += 1),
    });
    let source = newer;
    const by = await PeerVerifier.create(
      verifierParts({ collateral: { get: async (_k, now) => source.collateral(now) } }),
    );
    expect(await refusal(certificateOf(good), by)).toBe("accepted");
    source = platform;
    expect(await refusal(certificateOf(good), by)).toMatch(/older than what was verified/);
    source = newer;
    expect(await refusal(certificateOf(good), by)).toBe("accepted");
  });

  it("E9: refuses an image that is not on the list, register by register", async () => {
    const other = bareLaunch("another image");
    for (const changed of [
      { ...launch, mrtd: hex(sha384("firmware")) },
      {
        ...launch,
        rtmr1: other.rtmr1,
        events: [...launch.events.filter((e) => e.imr !== 1), ...other.events.filter((e) => e.imr === 1)],
      },
      {
        ...launch,
        rtmr2: other.rtmr2,
        events: [...launch.events.filter((e) => e.imr !== 2), ...other.events.filter((e) => e.imr === 2)],
      },
    ]) {
      const guest = await startGuest(bootEvents(), { launch: changed });
      expect(await refusal(certificateOf(guest))).toMatch(/^PolicyError: no allowed image has/);
    }
  });

  it("E9: does not start with an allow-list that allows nothing", async () => {
    const policy = policyFor(launch, { images: { allow_all: false, allowed: [] } });
    await expect(PeerVerifier.create(verifierParts({ policy }))).rejects.toThrow(/allow_all = true/);
  });

  it("E10: refuses a simulated platform unless its root is named", async () => {
    const none = await PeerVerifier.create(verifierParts({ anchors: [INTEL_ROOT] }));
    expect(none.simulatedRoots).toEqual([]);
    expect(await refusal(certificateOf(good), none)).toMatch(/^QuoteError: .*root/);
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(2));
    const stranger = await startGuest(bootEvents(), { platform: other });
    expect(await refusal(certificateOf(stranger))).toMatch(/^QuoteError/);
  });

  it("E11: refuses truncated, extended and garbled certificates without ever failing otherwise", async () => {
    const der = await certificateOf(good);
    expect(await refusal(new Uint8Array())).toMatch(/^InputError/);
    expect(await refusal(Uint8Array.of(...der, 0))).toMatch(/^InputError: .*trailing/);
    for (let length = 1; length < der.length; length += 97) {
      expect(await refusal(der.subarray(0, length)), `cut at ${length}`).toMatch(/^InputError/);
    }
  });
});

describe("form of an RA-TLS certificate", () => {
  /** A self-signed certificate as another implementation could make it, with good evidence for its key. */
  async function handMade(curve: "P-256" | "P-384", further: x509.Extension[] = []): Promise<Uint8Array> {
    const algorithm = { name: "ECDSA", namedCurve: curve, hash: "SHA-256" };
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const spki = new Uint8Array(await webcrypto.subtle.exportKey("spki", keys.publicKey));
    const quote = await good.provider.getQuote(raTlsReportData(spki));
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      name: "CN=guest",
      notBefore: new Date((NOW - 60) * 1000),
      notAfter: new Date((NOW + 60) * 1000),
      keys,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.Extension(OID_QUOTE, false, Buffer.from(octetString(quote))),
        new x509.Extension(OID_EVENT_LOG, false, Buffer.from(octetString(utf8(good.eventLog)))),
        ...further,
      ],
    });
    return new Uint8Array(certificate.rawData);
  }

  it("takes certificates of other makers", async () => {
    expect(await refusal(handMade("P-256"))).toBe("accepted");
  });

  it("refuses keys on other curves, though the quote is over them", async () => {
    expect(await refusal(handMade("P-384"))).toMatch(/P-256/);
  });

  it("refuses a critical extension that nobody here understands", async () => {
    const unknown = (critical: boolean) => [new x509.Extension("1.2.3.4", critical, Buffer.of(5, 0))];
    expect(await refusal(handMade("P-256", unknown(false)))).toBe("accepted");
    expect(await refusal(handMade("P-256", unknown(true)))).toMatch(/critical extension 1\.2\.3\.4/);
  });
});

describe("validity of an RA-TLS certificate", () => {
  const dates = (from: number, to: number) => ({
    notBefore: new Date((NOW + from) * 1000),
    notAfterMs: (NOW + to) * 1000,
  });
  const day = 86_400;
  it.each([
    ["now", dates(-60, 60), "accepted"],
    ["ten days", dates(-60, 10 * day - 60), "accepted"],
    ["more than ten days", dates(-60, 10 * day + 600), "valid for more than 10 days"],
    ["a year", dates(-60, 365 * day), "valid for more than 10 days"],
    ["expired", dates(-day, -1), "has expired"],
    ["not yet valid", dates(3600, day), "is not valid yet"],
  ])("%s", async (_name, changes, expected) => {
    expect(await refusal(certificateOf(good, changes))).toContain(expected);
  });
});

describe("PeerVerifier.create from configuration", () => {
  const section = (roots: string[]) =>
    AttestationConfig.parse({
      pccs_url: "http://127.0.0.1:1",
      insecure_simulated_roots: roots,
      images: policyFor(launch).images,
    });

  it("trusts Intel, and a simulated root only when its file is named", async () => {
    const dir = await tempDir();
    const path = join(dir, "root.pem");
    await writeFile(path, platform.rootCertificatePem);
    expect((await PeerVerifier.create(section([]))).simulatedRoots).toEqual([]);
    expect((await PeerVerifier.create(section([path]))).simulatedRoots).toEqual([platform.rootSha256]);
  });

  it("names the file of a root that is none", async () => {
    const dir = await tempDir();
    const path = join(dir, "root.pem");
    await writeFile(path, "no certificate");
    await expect(PeerVerifier.create(section([path]))).rejects.toThrow(path);
    await expect(PeerVerifier.create(section([join(dir, "none.pem")]))).rejects.toThrow(/ENOENT/);
  });

  it("refuses keys nobody knows", () => {
    expect(AttestationConfig.safeParse({ allow_everything: true }).success).toBe(false);
  });
});
