import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { checkCertificate, checkCoverage } from "../src/index.js";
import { certificatesByName, forServerName } from "../src/certificate.js";
import { parseServerName } from "../src/server-name.js";
import { makeCertificate, weakCertificate } from "./certificates.js";

const baseDomains = ["app.example.org"];
const good = makeCertificate("*.app.example.org");
const other = makeCertificate("*.app.example.org");
const now = (): Date => new Date();

describe("checkCertificate", () => {
  it("P6: takes a pair that fits, and tells its end and its public key", () => {
    const checked = checkCertificate({ ...good, baseDomains, now: now() });
    const leaf = new X509Certificate(good.certPem);
    expect(checked.notAfterMs).toBe(Date.parse(leaf.validTo));
    expect(Buffer.from(checked.spkiDer)).toEqual(leaf.publicKey.export({ format: "der", type: "spki" }));
  });

  const tomorrow = new Date(Date.now() + 2 * 86_400_000);
  const yesterday = new Date(Date.now() - 86_400_000);
  it.each([
    ["another key", { ...good, keyPem: other.keyPem, baseDomains, now: now() }, "key_mismatch"],
    ["an expired certificate", { ...good, baseDomains, now: tomorrow }, "out_of_date"],
    ["one that is not valid yet", { ...good, baseDomains, now: yesterday }, "out_of_date"],
    ["another name", { ...good, baseDomains: ["other.example.org"], now: now() }, "wrong_names"],
    [
      "a key too short for TLS",
      { ...weakCertificate("*.app.example.org"), baseDomains, now: now() },
      "unusable",
    ],
    ["an empty file", { ...good, certPem: "", baseDomains, now: now() }, "unreadable"],
    ["half a file", { ...good, certPem: good.certPem.slice(0, 300), baseDomains, now: now() }, "unreadable"],
    ["a broken key", { ...good, keyPem: "no key", baseDomains, now: now() }, "unreadable"],
    [
      "a chain out of order",
      { ...good, certPem: good.certPem + other.certPem, baseDomains, now: now() },
      "unreadable",
    ],
  ])("P6: refuses %s", (_, input, code) => {
    expect(() => checkCertificate(input)).toThrow(expect.objectContaining({ code }));
  });

  it("P6: wants the wildcard itself; one app's own name is not enough", () => {
    const single = makeCertificate(`${"0".repeat(39)}1.app.example.org`);
    const checked = checkCertificate({ ...single, baseDomains, now: now() });
    expect(() => checkCoverage([checked], baseDomains)).toThrow(/none names \*\.app\.example\.org/);
  });

  it("P6: wants each of the base domains named by one certificate or another", () => {
    const both = [...baseDomains, "b.org"];
    const org = checkCertificate({ ...good, baseDomains: both, now: now() });
    expect(() => checkCoverage([org], both)).toThrow(/none names \*\.b\.org/);
    const b = checkCertificate({ ...makeCertificate("*.b.org"), baseDomains: both, now: now() });
    expect(() => checkCoverage([org, b], both)).not.toThrow();
  });

  it("P6: serves only names of one label under a base domain, and finds each by RFC 9525", () => {
    const many = makeCertificate(
      "*.app.example.org",
      "X1.App.Example.org",
      "a.b.app.example.org",
      "app.example.org",
      "x*.app.example.org",
      "*.other.org",
      "y.other.org",
      "*",
      "*.org",
    );
    const [first, second] = [good, many].map((pair) =>
      checkCertificate({ ...pair, baseDomains, now: now() }),
    );
    expect(second?.names).toEqual(["*.app.example.org", "x1.app.example.org"]);
    const byName = certificatesByName([first, second].filter((one) => one !== undefined));
    const found = (name: string) => {
      const parsed = parseServerName(name);
      return parsed && forServerName(byName, parsed);
    };
    expect(found("x1.app.example.org")).toBe(second);
    expect(found("x2.app.example.org")).toBe(first); // both have the wildcard
    for (const other of ["a.b.app.example.org", "app.example.org", "y.other.org"]) {
      expect(found(other)).toBeUndefined();
    }
  });
});
