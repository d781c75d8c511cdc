import { createHash } from "node:crypto";
import { utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  certificateKeyReportData,
  domainReportData,
  freshDomainReportData,
  freshReportData,
  raTlsReportData,
} from "../src/index.js";

const challenge = new Uint8Array(32).fill(1);
const exporter = new Uint8Array(32).fill(2);
const spki = new Uint8Array(91).fill(3);
const binding = { challenge, exporter, spki };

const sha = (algorithm: "sha256" | "sha512", ...parts: (string | Uint8Array)[]): Buffer =>
  createHash(algorithm)
    .update(Buffer.concat(parts.map((part) => (typeof part === "string" ? utf8(part) : part))))
    .digest();

describe("report data. FROZEN: verifiers and guests are of different ages", () => {
  const sums = Buffer.from("00  cert.pem\n");

  it("K1: of a connection's key is SHA-512 of ratls-cert: and the SPKI", () => {
    expect(Buffer.from(raTlsReportData(spki))).toEqual(sha("sha512", "ratls-cert:", spki));
  });

  it("C3: of a certificate's key is SHA-512 of zt-cert: and the SPKI", () => {
    expect(Buffer.from(certificateKeyReportData(spki))).toEqual(sha("sha512", "zt-cert:", spki));
  });

  it("C5: of a domain's evidence is the digest of sha256sum.txt and 32 zero bytes", () => {
    const expected = Buffer.concat([sha("sha256", sums), Buffer.alloc(32)]);
    expect(Buffer.from(domainReportData(sums))).toEqual(expected);
  });

  it("C5: of a domain's answer to a nonce has the digest and the nonce, each after its length", () => {
    const nonce = Buffer.from("0102", "hex");
    const text = [
      "domain-evidence:",
      Buffer.from([0, 0, 0, 32]),
      sha("sha256", sums),
      Buffer.from([0, 0, 0, 2]),
      nonce,
    ];
    expect(Buffer.from(freshDomainReportData(sums, nonce))).toEqual(sha("sha512", ...text));
  });
});

describe("freshReportData. FROZEN: KMS and guests are of different ages", () => {
  it("is SHA-512 over the purpose and each part after its length", () => {
    const text = [
      Buffer.from("kms-challenge:"),
      Buffer.from([0, 0, 0, 32]),
      challenge,
      Buffer.from([0, 0, 0, 32]),
      exporter,
      Buffer.from([0, 0, 0, 91]),
      spki,
    ];
    const expected = createHash("sha512").update(Buffer.concat(text)).digest();
    expect(Buffer.from(freshReportData("kms-challenge", binding))).toEqual(expected);
  });

  it("E13: differs by purpose, challenge, connection and client key, and where bytes move between them", () => {
    const others = [
      freshReportData("kms-onboard", binding),
      freshReportData("kms-challenge", { ...binding, challenge: exporter }),
      freshReportData("kms-challenge", { ...binding, exporter: challenge }),
      freshReportData("kms-challenge", { ...binding, spki: spki.map((byte) => byte ^ 1) }),
      freshReportData("kms-challenge", {
        challenge: new Uint8Array([...challenge, 2]),
        exporter: new Uint8Array([...exporter.subarray(1), 3]),
        spki: spki.subarray(1),
      }),
    ].map((bytes) => Buffer.from(bytes).toString("hex"));
    others.push(Buffer.from(freshReportData("kms-challenge", binding)).toString("hex"));
    expect(new Set(others).size).toBe(6);
  });

  it("refuses values that could be guessed", () => {
    for (const short of [{ challenge: challenge.subarray(1) }, { exporter: new Uint8Array(0) }]) {
      expect(() => freshReportData("kms-challenge", { ...binding, ...short })).toThrow(/at least 32/);
    }
  });
});
