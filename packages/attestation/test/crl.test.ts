import { hex } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  distinguishedName,
  extension,
  KEY_USAGE,
  certificate,
} from "../../tdx-attest/src/simulated/certificates.js";
import {
  bitString,
  enumerated,
  explicit,
  integer,
  octetString,
  oid,
  sequence,
  time,
} from "../../tdx-attest/src/simulated/der.js";
import { SigningKey } from "../../tdx-attest/src/simulated/signing-key.js";
import { readCertificate } from "../src/certificate.js";
import { MAX_CRL_BYTES, readCrl } from "../src/crl.js";
import type { Crl } from "../src/crl.js";
import { NOW, SEED, codeOf } from "./support/platform.js";

const key = SigningKey.derive(SEED, "list");
const at = new Date(NOW * 1000);
const ALGORITHM = sequence(oid("1.2.840.10045.4.3.2"));
const CRL_NUMBER = "2.5.29.20";
const ISSUING_DISTRIBUTION_POINT = "2.5.29.28";
const CERTIFICATE_ISSUER = "2.5.29.29";
const issuer = certificate({
  commonName: "SGX Root CA",
  issuerName: "SGX Root CA",
  key,
  issuerKey: key,
  serial: Uint8Array.of(1),
  notBefore: at,
  notAfter: at,
  ca: true,
  keyUsage: KEY_USAGE.issuing,
  crlUrl: "https://example.invalid/",
});

/** A signed list with these entries and extensions, as hex. */
function listOf(entries: readonly Uint8Array[], ...extensions: Uint8Array[]): string {
  const body = sequence(
    integer(1),
    ALGORITHM,
    distinguishedName("SGX Root CA"),
    time(at),
    time(at),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    explicit(0, sequence(...extensions)),
  );
  return hex(sequence(body, ALGORITHM, bitString(key.signDer(body))));
}
const numbered = (number: Uint8Array | number): Uint8Array => extension(CRL_NUMBER, integer(number));
const entry = (serial: number, ...rest: Uint8Array[]): Uint8Array =>
  sequence(integer(serial), time(at), ...rest);
const read = (text: string): Crl => readCrl(text, readCertificate(issuer, "issuer"), "list");

describe("E1: revocation lists", () => {
  it("gives every serial number, with a reason or without", () => {
    const reason = sequence(extension("2.5.29.21", enumerated(1)));
    const list = read(listOf([entry(5), entry(6, reason), entry(0x7fff)], numbered(1)));
    expect([...list.revoked]).toEqual(["05", "06", "7fff"]);
    expect(read(listOf([], numbered(1))).revoked.size).toBe(0);
  });

  it("gives the number of the list, if it has one", () => {
    expect(read(listOf([], numbered(300))).number).toBe(300n);
    const longest = new Uint8Array(20).fill(0x7f);
    expect(read(listOf([], numbered(longest))).number).toBe(BigInt(`0x${"7f".repeat(20)}`));
    expect(read(listOf([], extension("2.5.29.35", sequence()))).number).toBeUndefined();
    const tooLong = listOf([], numbered(new Uint8Array(21).fill(1)));
    expect(codeOf(() => read(tooLong))).toBe("certificate_malformed");
  });

  it("refuses lists that are not whole: indirect ones, and parts", () => {
    const critical = (id: string): Uint8Array => extension(id, octetString(new Uint8Array()), true);
    for (const text of [
      listOf([entry(5, sequence(critical(CERTIFICATE_ISSUER)))], numbered(1)),
      listOf([], critical(ISSUING_DISTRIBUTION_POINT)),
    ]) {
      expect(codeOf(() => read(text))).toBe("certificate_malformed");
    }
  });

  it("refuses a list of extensions that is empty, or holds one twice", () => {
    expect(codeOf(() => read(listOf([])))).toBe("certificate_malformed");
    expect(codeOf(() => read(listOf([], numbered(1), numbered(1))))).toBe("certificate_malformed");
  });

  it("E11: refuses other text than hex in lower case, and more than a list can have", () => {
    const good = listOf([], numbered(1));
    for (const text of [good.toUpperCase(), `${good}0`, `0x${good}`, `${good} `, "zz"]) {
      expect(codeOf(() => read(text))).toBe("certificate_malformed");
    }
    const tooLong = `is not at most ${MAX_CRL_BYTES} bytes`;
    expect(() => read("00".repeat(MAX_CRL_BYTES + 1))).toThrow(tooLong);
    expect(() => read("00".repeat(MAX_CRL_BYTES))).not.toThrow(tooLong);
  });
});
