import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { checkCertificate } from "../src/index.js";
import { makeCertificate } from "./certificates.js";

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
      "a name for only one of two domains",
      { ...good, baseDomains: [...baseDomains, "b.org"], now: now() },
      "wrong_names",
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
    expect(() => checkCertificate({ ...single, baseDomains, now: now() })).toThrow(/does not name \*\.app/);
  });
});
