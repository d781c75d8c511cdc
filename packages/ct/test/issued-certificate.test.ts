import { X509Certificate } from "node:crypto";
import { DER, DerReader } from "@dstack/core";
import { execa } from "execa";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { readIssued } from "../src/issued-certificate.js";
import { isNameOf, mentions } from "../src/names.js";

const POISON = "1.3.6.1.4.1.11129.2.4.3=critical,ASN1:NULL";

async function certificate(subject: string, ...extensions: string[]): Promise<X509Certificate> {
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null"];
  const added = extensions.flatMap((extension) => ["-addext", extension]);
  const { stdout } = await execa("openssl", [
    "req",
    "-x509",
    ...curve,
    "-days",
    "2",
    "-subj",
    subject,
    ...added,
  ]);
  return new X509Certificate(stdout);
}
const tbsOf = (der: Uint8Array): Uint8Array =>
  new DerReader(new DerReader(der, "test").next(DER.sequence).content, "test").next(DER.sequence).whole;

/** Adds 15 to the length of each element that reaches over a place. */
function growLengths(der: Buffer, place: number): Buffer {
  const grown = Buffer.from(der);
  let at = 0;
  while (at < place) {
    const first = grown[at + 1] ?? 0;
    const header = first < 0x80 ? 2 : 2 + (first & 0x7f);
    const length = first < 0x80 ? first : grown.readUIntBE(at + 2, first & 0x7f);
    if (at + header + length <= place) {
      at += header + length;
      continue;
    }
    if (first < 0x80) grown[at + 1] = length + 15;
    else grown.writeUIntBE(length + 15, at + 2, first & 0x7f);
    at += header;
  }
  return grown;
}

let sample: X509Certificate;
beforeAll(async () => {
  sample = await certificate(
    "/O=Example/CN=app.example.org",
    "subjectAltName=DNS:*.App.example.org,DNS:app.example.org,IP:192.0.2.1,email:a@example.org",
  );
});

describe("readIssued", () => {
  it("reads key, names, issuer, serial and dates as OpenSSL does", () => {
    const read = readIssued(sample.raw, "x509");
    expect(read.names).toEqual(["*.App.example.org", "app.example.org", "app.example.org"]);
    expect(Buffer.from(read.spki)).toEqual(sample.publicKey.export({ format: "der", type: "spki" }));
    expect(BigInt(`0x${Buffer.from(read.serial).toString("hex")}`)).toBe(BigInt(`0x${sample.serialNumber}`));
    expect(read.notBefore * 1000).toBe(Date.parse(sample.validFrom));
    expect(read.notAfter * 1000).toBe(Date.parse(sample.validTo));
    expect(read.issuerText).toBe("Example, app.example.org");
    expect(read.poison).toBe(false);
  });

  it("reads the same from the TBSCertificate of a precertificate entry", () => {
    expect(readIssued(tbsOf(sample.raw), "precert")).toEqual(readIssued(sample.raw, "x509"));
  });

  it("knows a precertificate by its poison", async () => {
    const poisoned = await certificate("/CN=x", POISON);
    expect(readIssued(poisoned.raw, "x509").poison).toBe(true);
  });

  it("takes a certificate without names as one without names", async () => {
    expect(readIssued((await certificate("/O=nobody")).raw, "x509").names).toEqual([]);
  });

  it("refuses a DNS name with a zero byte, which some read as the end", () => {
    const der = Buffer.from(sample.raw);
    der[der.indexOf("app.example.org", der.indexOf("*.App")) + 3] = 0;
    expect(() => readIssued(der, "x509")).toThrow(/other characters/);
    expect(mentions(der, "app.example.org")).toBe(true);
  });

  it("C3: refuses a DNS name in pieces, which OpenSSL puts together, and any domain may be in it", async () => {
    const piece = (text: string) => Buffer.concat([Buffer.of(0x16, text.length), Buffer.from(text)]);
    const name = Buffer.concat([piece("app.exa"), piece("mple.org")]);
    const value = Buffer.concat([Buffer.of(0x30, name.length + 2, 0xa2, name.length), name]);
    const der = await certificate(
      "/O=x",
      `subjectAltName=DER:${value.toString("hex").replace(/..\B/g, "$&:")}`,
    );
    expect(der.checkHost("app.example.org")).toBe("app.example.org");
    expect(() => readIssued(der.raw, "x509")).toThrow(/in pieces/);
    expect(mentions(der.raw, "app.example.org")).toBe(true);
    expect(mentions(sample.raw, "x.org")).toBe(false);
  });

  it("C3: reads a common name in UTF-16, and refuses one with a zero in it", async () => {
    const { raw } = await certificate("/CN=APP.EXAMPLE.ORG", "basicConstraints=CA:FALSE");
    const plain = Buffer.concat([Buffer.of(0x0c, 15), Buffer.from("APP.EXAMPLE.ORG")]);
    const wide = Buffer.concat([Buffer.of(0x1e, 30), Buffer.from("app.example.org", "utf16le").swap16()]);
    const at = raw.lastIndexOf(plain);
    const der = growLengths(Buffer.concat([raw.subarray(0, at), wide, raw.subarray(at + plain.length)]), at);
    expect(mentions(der, "app.example.org")).toBe(true);
    expect(readIssued(der, "x509").names).toEqual(["app.example.org"]);
    const cut = Buffer.from(raw);
    cut[at + 5] = 0;
    expect(() => readIssued(cut, "x509")).toThrow(/zero/);
  });

  it("refuses truncations and survives every flipped bit", () => {
    for (let length = 0; length < sample.raw.length; length += 1) {
      expect(() => readIssued(sample.raw.subarray(0, length), "x509")).toThrow();
    }
    fc.assert(
      fc.property(fc.nat(sample.raw.length * 8 - 1), (bit) => {
        const der = Uint8Array.from(sample.raw);
        der[bit >> 3] = (der[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        try {
          readIssued(der, "x509");
        } catch (err) {
          expect(err).toMatchObject({ name: "InputError" });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("isNameOf", () => {
  it.each([
    "app.example.org",
    "*.app.example.org",
    "a.b.APP.example.org",
    "app.example.org.",
    "*.example.org",
  ])("C3: %s is for app.example.org", (name) => expect(isNameOf(name, "app.example.org")).toBe(true));
  it.each(["example.org", "notapp.example.org", "app.example.org.evil.test", "*.org", "b.example.org", ""])(
    "%s is not",
    (name) => expect(isNameOf(name, "app.example.org")).toBe(false),
  );
  it("takes no wildcard of a top level", () => expect(isNameOf("*.org", "example.org")).toBe(false));
});

describe("mentions", () => {
  it("C3: finds names in any case, and wildcards above, and nothing else", () => {
    expect(mentions(sample.raw, "app.example.org")).toBe(true);
    expect(mentions(sample.raw, "x.app.example.org")).toBe(true); // *.App.example.org is good for it
    expect(mentions(sample.raw, "other.example.org")).toBe(false);
  });
});
