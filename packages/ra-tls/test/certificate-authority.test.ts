import { X509Certificate, createPublicKey, generateKeyPairSync } from "node:crypto";
import { hex, parseAppId } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { CertificateAuthority, appIdExtension, generateP256, pemToDer, splitPem } from "../src/index.js";
import { readCertificateDer } from "../src/certificate-der.js";
import { readAppIdExtension } from "../src/read-evidence.js";

const soon = new Date(Date.now() + 3_600_000);
const root = await CertificateAuthority.create({ commonName: "root" });

describe("CertificateAuthority", () => {
  it("issues chains that Node's OpenSSL accepts: root, app CA, leaf", async () => {
    const appKey = generateP256();
    const appPem = await root.issue({
      publicKey: appKey.publicKey,
      commonName: "app",
      ca: { pathLength: 1 },
      notAfter: soon,
    });
    const app = CertificateAuthority.load([appPem, root.certPem].join(""), appKey.privateKey);
    const leafKey = generateP256();
    const leafPem = await app.issue({
      publicKey: leafKey.publicKey,
      commonName: "leaf",
      altNames: ["a.example", "*.b.example", "10.0.2.2", "::1"],
      usages: ["serverAuth", "clientAuth"],
      notAfter: soon,
    });
    const leaf = new X509Certificate(leafPem);
    const appCertificate = new X509Certificate(appPem);
    const rootCertificate = new X509Certificate(root.certPem);
    expect(leaf.checkIssued(appCertificate) && leaf.verify(appCertificate.publicKey)).toBe(true);
    expect(
      appCertificate.checkIssued(rootCertificate) && appCertificate.verify(rootCertificate.publicKey),
    ).toBe(true);
    expect(rootCertificate.checkIssued(rootCertificate)).toBe(true);
    expect([leaf.ca, appCertificate.ca, rootCertificate.ca]).toEqual([false, true, true]);
    expect(leaf.checkHost("a.example")).toBe("a.example");
    expect(leaf.checkHost("x.b.example")).toBe("*.b.example");
    expect(leaf.checkIP("10.0.2.2")).toBe("10.0.2.2");
    expect(leaf.checkIP("::1")).toBeDefined();
    expect(leaf.keyUsage).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    expect(app.chain).toEqual([appPem, root.certPem]);
  });

  it("writes names as data: what a name contains never becomes another attribute", async () => {
    const commonName = "a, O=Evil + CN=x / CN=y #00 'ü'";
    const pem = await root.issue({ publicKey: generateP256().publicKey, commonName, notAfter: soon });
    const { subject } = new X509Certificate(pem).toLegacyObject();
    expect(Object.keys(subject)).toEqual(["CN"]);
    expect(subject.CN).toBe(commonName);
  });

  it.each(["", "x".repeat(65)])("refuses the common name %j", async (commonName) => {
    const request = { publicKey: generateP256().publicKey, commonName, notAfter: soon };
    await expect(async () => root.issue(request)).rejects.toThrow(/1 to 64/);
  });

  it("carries the app id as an OCTET STRING of 20 bytes, not critical", async () => {
    const appId = parseAppId("ab".repeat(20));
    const pem = await root.issue({
      publicKey: generateP256().publicKey,
      commonName: "x",
      extensions: [appIdExtension(appId)],
      notAfter: soon,
    });
    const parts = readCertificateDer(pemToDer(pem));
    const extension = parts.extensions.get("1.3.6.1.4.1.62397.1.3");
    expect(extension?.critical).toBe(false);
    expect(hex(extension?.value ?? new Uint8Array())).toBe(`0414${appId}`);
    expect(readAppIdExtension(parts)).toBe(appId);
  });

  it("gives every certificate its own positive serial number", async () => {
    const request = { publicKey: generateP256().publicKey, commonName: "x", notAfter: soon };
    const pems = await Promise.all([1, 2, 3, 4].map(() => root.issue(request)));
    const serials = pems.map((pem) => new X509Certificate(pem).serialNumber);
    expect(new Set(serials).size).toBe(4);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
  });

  it("loads only a CA certificate with its own P-256 key", async () => {
    const other = generateP256();
    expect(() => CertificateAuthority.load(root.certPem, other.privateKey)).toThrow(/does not belong/);
    const leaf = await root.issue({ publicKey: other.publicKey, commonName: "x", notAfter: soon });
    expect(() => CertificateAuthority.load(leaf, other.privateKey)).toThrow(/not a CA/);
    expect(() => CertificateAuthority.load("nothing", root.key)).toThrow(/no PEM/);
    expect(() => CertificateAuthority.load(root.certPem, "nothing")).toThrow(/private key/);
    for (const key of [
      generateKeyPairSync("ed25519").privateKey,
      generateKeyPairSync("ec", { namedCurve: "secp384r1" }).privateKey,
    ]) {
      expect(() => CertificateAuthority.load(root.certPem, key)).toThrow(/P-256/);
    }
  });

  it("keeps the SPKI in the certificate byte for byte", async () => {
    const key = generateP256();
    const pem = await root.issue({ publicKey: key.publicKey, commonName: "x", notAfter: soon });
    expect(readCertificateDer(pemToDer(pem)).spki).toEqual(key.publicKeySpki);
    expect(createPublicKey(pem).export({ type: "spki", format: "der" })).toEqual(
      Buffer.from(key.publicKeySpki),
    );
  });
});

describe("splitPem", () => {
  it("gives the certificates in order and refuses none and too many", () => {
    expect(splitPem(`text\n${root.certPem}more\n${root.certPem}`).length).toBe(2);
    expect(() => splitPem("")).toThrow(/no PEM/);
    expect(() => splitPem(root.certPem.repeat(9))).toThrow(/more than 8/);
  });
});
