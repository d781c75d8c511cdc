import { DerReader, InputError, concatBytes, fromHex, hex, oidText, timeSeconds, utf8 } from "@dstack/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_CERTIFICATE_BYTES, readCertificateDer } from "../src/certificate-der.js";
import { octetString } from "../src/certificate-authority.js";
import {
  CertificateAuthority,
  OID_EVENT_LOG,
  OID_QUOTE,
  generateP256,
  pemToDer,
  readEvidence,
} from "../src/index.js";
import { parseP256Spki } from "../src/p256.js";
import { appId, certificateOf, startGuest } from "./guest.js";

const root = await CertificateAuthority.create({ commonName: "root" });
const notAfter = new Date(Date.now() + 3_600_000);
const key = generateP256();

/** A certificate with these extensions, DER. */
async function withExtensions(extensions: { oid: string; value: Uint8Array }[]): Promise<Uint8Array> {
  return pemToDer(await root.issue({ publicKey: key.publicKey, commonName: "x", extensions, notAfter }));
}

const quote = { oid: OID_QUOTE, value: octetString(Uint8Array.of(1, 2, 3)) };
const eventLog = { oid: OID_EVENT_LOG, value: octetString(utf8("[]")) };

describe("readEvidence", () => {
  it("gives quote and event log, and nothing where there is no quote", async () => {
    expect(readEvidence(await withExtensions([quote, eventLog]))).toEqual({
      quote: Uint8Array.of(1, 2, 3),
      eventLog: "[]",
    });
    expect(readEvidence(await withExtensions([eventLog]))).toBeUndefined();
    expect(readEvidence(root.certDer)).toBeUndefined();
  });

  it("gives the app id of a certificate that has one", async () => {
    const guest = await startGuest();
    expect(readEvidence(await certificateOf(guest, { appId: hex(appId) as never }))?.appId).toBe(hex(appId));
  });

  it("E11: refuses an extension that is there twice: readers would disagree on which one counts", async () => {
    await expect(async () => readEvidence(await withExtensions([quote, eventLog, quote]))).rejects.toThrow(
      /more than once/,
    );
  });

  it.each<[string, { oid: string; value: Uint8Array }[], RegExp]>([
    ["a quote without a log", [quote], /no event log/],
    ["a bare payload", [{ oid: OID_QUOTE, value: utf8("quote") }, eventLog], /DER/],
    [
      "bytes after the payload",
      [{ oid: OID_QUOTE, value: concatBytes(quote.value, Uint8Array.of(0)) }, eventLog],
      /trailing/,
    ],
    [
      "a log that is not UTF-8",
      [quote, { oid: OID_EVENT_LOG, value: octetString(Uint8Array.of(0xff)) }],
      /UTF-8/,
    ],
  ])("E11: refuses %s", async (_name, extensions, message) => {
    const der = await withExtensions(extensions);
    expect(() => readEvidence(der)).toThrow(InputError);
    expect(() => readEvidence(der)).toThrow(message);
  });

  it("E11: refuses a certificate above 64 KiB before reading it, and does not make one", async () => {
    expect(() => readCertificateDer(new Uint8Array(MAX_CERTIFICATE_BYTES + 1))).toThrow(/larger than 65536/);
    const guest = await startGuest();
    await expect(certificateOf({ ...guest, eventLog: "x".repeat(60_000) })).rejects.toThrow(
      /larger than the 65536/,
    );
  });
});

describe("readCertificateDer", () => {
  const good = root.certDer;

  it("E11: throws nothing but InputError for any damaged certificate", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(good.length),
        (changes, length) => {
          const damaged = Uint8Array.from(good);
          for (const [at, byte] of changes) damaged[at] = byte;
          for (const bytes of [damaged, damaged.subarray(0, length)]) {
            try {
              readCertificateDer(bytes);
            } catch (err) {
              if (!(err instanceof InputError)) throw err;
            }
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it("E11: throws nothing but InputError for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => readCertificateDer(bytes)).toThrow(InputError);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("DerReader", () => {
  it.each([
    ["indefinite length", "3080010100 0000"],
    ["length not minimal, short form possible", "0481017f"],
    ["length not minimal, leading zero", "048200ff"],
    ["length beyond the end", "040500"],
    ["four bytes of length", "0484ffffffff"],
    ["multi-byte tag", "1f8101"],
    ["nothing", ""],
  ])("refuses %s", (_name, text) => {
    const bytes = fromHex(text.replace(" ", ""));
    expect(() => new DerReader(bytes, "test").next()).toThrow(InputError);
  });
});

describe("oidText", () => {
  it("reads the arcs of X.690 §8.19", () => {
    expect(oidText(fromHex("2b060104018 3e73d0101".replace(" ", "")))).toBe("1.3.6.1.4.1.62397.1.1");
    expect(oidText(fromHex("883703"))).toBe("2.999.3");
  });

  it.each(["", "80", "2b80", "2b8001", "2bffffffffffffff7f"])("refuses %s", (text) => {
    expect(() => oidText(fromHex(text))).toThrow(InputError);
  });
});

describe("timeSeconds", () => {
  const time = (tag: number, text: string) =>
    timeSeconds({ tag, content: utf8(text), whole: new Uint8Array() });

  it("reads both forms, with the century of RFC 5280", () => {
    expect(time(0x17, "260601000000Z")).toBe(Date.UTC(2026, 5, 1) / 1000);
    expect(time(0x17, "500101000000Z")).toBe(Date.UTC(1950, 0, 1) / 1000);
    expect(time(0x18, "20500101000000Z")).toBe(Date.UTC(2050, 0, 1) / 1000);
  });

  it.each([
    [0x17, "2606010000Z"],
    [0x17, "260601000000+0100"],
    [0x17, "260231000000Z"],
    [0x18, "20260601000000.5Z"],
    [0x18, "20261301000000Z"],
    [0x04, "260601000000Z"],
  ])("refuses tag %i %s", (tag, text) => {
    expect(() => time(tag, text)).toThrow(InputError);
  });
});

describe("parseP256Spki", () => {
  it("takes the one form of a P-256 key", () => {
    expect(parseP256Spki(key.publicKeySpki).asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
  });

  it("refuses a point that is not on the curve, a compressed point, other lengths", () => {
    const off = Uint8Array.from(key.publicKeySpki);
    off[90] = (off[90] ?? 0) ^ 1;
    const compressed = fromHex(`3039301306072a8648ce3d020106082a8648ce3d030107032200${"02".repeat(33)}`);
    for (const spki of [
      off,
      compressed,
      key.publicKeySpki.subarray(1),
      concatBytes(key.publicKeySpki, Uint8Array.of(0)),
    ]) {
      expect(() => parseP256Spki(spki)).toThrow(InputError);
    }
  });
});
