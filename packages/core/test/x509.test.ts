import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { x509FromDer } from "../src/index.js";

const dir = mkdtempSync(join(tmpdir(), "x509-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** A self-signed certificate, DER, with an extension that holds these bytes. */
function certificate(name: string, inside: Uint8Array = new Uint8Array(0)): Uint8Array {
  const length = inside.length.toString(16).padStart(4, "0");
  const value = `DER:0482${length}${Buffer.from(inside).toString("hex")}`;
  const extension = inside.length === 0 ? [] : ["-addext", `1.2.3.4=${value}`];
  execFileSync(
    "openssl",
    [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
      ...["-subj", `/CN=${name}`, "-keyout", join(dir, "key"), "-outform", "DER", "-out", join(dir, name)],
      ...extension,
    ],
    { stdio: "ignore" },
  );
  return new Uint8Array(readFileSync(join(dir, name)));
}

describe("x509FromDer", () => {
  it("K1: reads the certificate itself, not another one whose PEM stands in it", () => {
    const genuine = certificate("genuine");
    const pem = new X509Certificate(genuine).toString();
    const disguised = certificate("disguised", new TextEncoder().encode(`\n${pem}`));
    // What makes it necessary. Should Node no longer do this, the function can go.
    expect(new X509Certificate(disguised).subject).toBe("CN=genuine");
    const read = x509FromDer(disguised);
    expect(read.subject).toBe("CN=disguised");
    expect(new Uint8Array(read.raw)).toEqual(disguised);
    expect(x509FromDer(genuine).subject).toBe("CN=genuine");
  });

  it("reads certificates of any length", () => {
    for (let length = 0; length < 50; length++) {
      expect(x509FromDer(certificate(`n${"x".repeat(length)}`)).raw.length).toBeGreaterThan(200);
    }
  });

  it("refuses what is no certificate, PEM too", () => {
    const pem = new X509Certificate(certificate("plain")).toString();
    for (const bytes of [new Uint8Array(), Uint8Array.of(0x30, 0), new TextEncoder().encode(pem)]) {
      expect(() => x509FromDer(bytes)).toThrow();
    }
  });
});
