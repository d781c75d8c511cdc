import { CodedError, concatBytes, hex } from "@dstack/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { integer, octetString, oid, sequence } from "../../tdx-attest/src/simulated/der.js";
import { MAX_PEM_CHARS, decodePem } from "../src/pem.js";
import { readPckPlatform } from "../src/pck-extension.js";
import { readCertificate } from "../src/certificate.js";
import {
  EvidenceError,
  MAX_EVENTS,
  MAX_QUOTE_BYTES,
  QuoteError,
  checkRuntimeEvents,
  parseCcel,
  parseEventLog,
  parseQuote,
  quoteCollateralKeys,
  readAppIdentity,
  replayEventLog,
  runtimeEvent,
  verifyQuote,
} from "../src/index.js";
import type { Collateral } from "../src/index.js";
import { AT, put, u32 } from "./support/edit-quote.js";
import { lastCertificate } from "./support/oracle.js";
import { codeOf, makeCase } from "./support/platform.js";

const good = makeCase();
const root = lastCertificate(good.collateral.tcb_info_issuer_chain);
const [leafPem = ""] = good.collateral.tcb_info_issuer_chain.split(/(?<=-----END CERTIFICATE-----\n)/);

/** Runs a parser; anything but its own error is a bug. */
function onlyThrows(kind: typeof QuoteError | typeof EvidenceError, run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch (err) {
    if (err instanceof kind && err instanceof CodedError) return true;
    throw err;
  }
}

/** Bytes of a good thing with a few of them replaced, taken out or put in. */
function mutated(bytes: Uint8Array): fc.Arbitrary<Uint8Array> {
  const edit = fc.tuple(fc.nat(bytes.length - 1), fc.nat(8), fc.uint8Array({ maxLength: 8 }));
  return fc
    .array(edit, { minLength: 1, maxLength: 4 })
    .map((edits) =>
      edits.reduce<Uint8Array>(
        (result, [at, drop, add]) => concatBytes(result.subarray(0, at), add, result.subarray(at + drop)),
        bytes,
      ),
    );
}

describe("E11: parsers throw nothing but their own error", () => {
  it("parseQuote", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) =>
        onlyThrows(QuoteError, () => parseQuote(bytes)),
      ),
    );
    fc.assert(
      fc.property(mutated(good.quote), (bytes) =>
        onlyThrows(QuoteError, () => quoteCollateralKeys(parseQuote(bytes))),
      ),
    );
  });

  it("certificates", () => {
    const read = (bytes: Uint8Array): boolean =>
      onlyThrows(QuoteError, () => readCertificate(bytes, "certificate"));
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), read));
    fc.assert(fc.property(mutated(root), read), { numRuns: 500 });
  });

  it("collateral", () => {
    const fields = fc.constantFrom(...(Object.keys(good.collateral) as (keyof Collateral)[]));
    const edits = fc.tuple(fields, fc.nat(), fc.nat(40), fc.string({ maxLength: 20 }));
    fc.assert(
      fc.property(edits, ([field, where, drop, add]) => {
        const text = good.collateral[field];
        const at = where % text.length;
        const edited = text.slice(0, at) + add + text.slice(at + drop);
        const input = { ...good, collateral: { ...good.collateral, [field]: edited } };
        const accepted = codeOf(() => verifyQuote(input)) === "accepted";
        expect(accepted).toBe(edited === text || edited === text.trimEnd());
      }),
      { numRuns: 300 },
    );
  });

  it("parseEventLog, replay and identity", () => {
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      fc.jsonValue().map((value) => JSON.stringify([value])),
    );
    fc.assert(fc.property(text, (json) => onlyThrows(EvidenceError, () => parseEventLog(json))));
    const entry = fc.record({
      imr: fc.nat(3),
      event_type: fc.constantFrom(0x08000001, 1),
      digest: fc.constantFrom("00".repeat(48), runtimeEvent("a", new Uint8Array()).digest),
      event: fc.constantFrom("a", "", "app-id", "x:y"),
      event_payload: fc.constantFrom("", "00"),
    });
    fc.assert(
      fc.property(fc.array(entry), (entries) => onlyThrows(EvidenceError, () => readAppIdentity(entries))),
    );
  });

  it("parseCcel", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) =>
        onlyThrows(EvidenceError, () => parseCcel(bytes)),
      ),
    );
    fc.assert(fc.property(mutated(ccel(3)), (bytes) => onlyThrows(EvidenceError, () => parseCcel(bytes))));
  });
});

describe("E11: properties of event logs", () => {
  const name = fc.string({ minLength: 1, maxLength: 40 }).filter((text) => !/[:\p{Cc}\p{Cs}]/u.test(text));
  const events = fc.array(
    fc.tuple(name, fc.uint8Array({ maxLength: 40 })).map(([event, payload]) => runtimeEvent(event, payload)),
    { maxLength: 20 },
  );

  it("what we write is read back, checks, and replays step by step", () => {
    fc.assert(
      fc.property(events, events, (first, second) => {
        const all = [...first, ...second];
        expect(parseEventLog(JSON.stringify(all))).toEqual(all);
        checkRuntimeEvents(all);
        const once = replayEventLog(all)[3];
        const before = first.length === 0 ? "" : hex(replayEventLog(first)[3]);
        expect(hex(once) === before).toBe(second.length === 0 && before !== "");
      }),
    );
  });

  it("E2: different events have different digests", () => {
    fc.assert(
      fc.property(name, fc.uint8Array(), name, fc.uint8Array(), (name1, payload1, name2, payload2) => {
        const same = name1 === name2 && hex(payload1) === hex(payload2);
        expect(runtimeEvent(name1, payload1).digest === runtimeEvent(name2, payload2).digest).toBe(same);
      }),
    );
  });
});

describe("decodePem", () => {
  it("reads what an encoder wrote, and only that text", () => {
    const der = decodePem(leafPem, 1, "certificate")[0];
    expect(codeOf(() => decodePem(leafPem, 2, "chain"))).toBe("certificate_malformed");
    expect(readCertificate(der, "certificate").commonName).toContain("SGX TCB Signing");
    for (const edited of [
      leafPem.replaceAll("\n", "\r\n"),
      ` ${leafPem}`,
      `${leafPem}\n`,
      `text\n${leafPem}`,
      leafPem.replace("\n-----END", "=\n-----END"),
      leafPem.replace(/.{64}\n/, (line) => line.replace(/(.{32})/, "$1\n")),
      leafPem.replace("BEGIN CERTIFICATE", "BEGIN X509 CRL"),
      leafPem.replace("-----END CERTIFICATE-----\n", ""),
      "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    ]) {
      expect(
        codeOf(() => decodePem(edited, 1, "certificate")),
        JSON.stringify(edited.slice(0, 40)),
      ).toBe("certificate_malformed");
    }
  });

  it("E11: refuses lines of other lengths, and more text than a chain can have", () => {
    const pem = (...lines: string[]): string =>
      `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
    const line = "A".repeat(64);
    expect(decodePem(pem(line, "AAAA"), 1, "x")[0]).toHaveLength(51);
    for (const bad of [pem(line, ""), pem(line + "AAAA"), pem("AAAA", line), pem(line.slice(4), "AAAA")]) {
      expect(codeOf(() => decodePem(bad, 1, "x"))).toBe("certificate_malformed");
    }
    const around = pem("").length;
    const lines = (length: number): string =>
      pem(...Array.from({ length }, () => line)).replace("\n\n", "\n");
    const most = Math.floor((MAX_PEM_CHARS - around + 1) / 65);
    expect(decodePem(lines(most), 1, "x")[0]).toHaveLength(most * 48);
    expect(() => decodePem(lines(most + 2), 1, "x")).toThrow("longer than");
    expect(() => decodePem("-".repeat(MAX_PEM_CHARS + 1), 1, "x")).toThrow("longer than");
    expect(() => decodePem("-".repeat(MAX_PEM_CHARS), 1, "x")).toThrow("begins no certificate");
  });

  it("E11: refuses a quote longer than any, though only zeros follow", () => {
    const padded = (length: number): Uint8Array =>
      concatBytes(good.quote, new Uint8Array(length - good.quote.length));
    expect(parseQuote(padded(MAX_QUOTE_BYTES)).version).toBe(4);
    expect(() => parseQuote(padded(MAX_QUOTE_BYTES + 1))).toThrow("longer than");
  });

  it("takes a chain with a last line feed or without, and with no second one", () => {
    const [der] = decodePem(leafPem, 1, "x");
    expect(decodePem(leafPem.slice(0, -1), 1, "x")).toEqual([der]);
    expect(codeOf(() => decodePem(`${leafPem}\n`, 1, "x"))).toBe("certificate_malformed");
  });

  it("E11: refuses base64 with spare bits set", () => {
    const pem = (text: string): string => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
    expect(decodePem(pem("AA=="), 1, "x")).toEqual([Uint8Array.of(0)]);
    expect(codeOf(() => decodePem(pem("AB=="), 1, "x"))).toBe("certificate_malformed");
  });
});

describe("parseQuote", () => {
  it("reads the header", () => {
    const quote = put(good.quote, 8, [1, 2, 3, 4]);
    const userData = Uint8Array.from({ length: 20 }, (_, i) => i);
    expect(parseQuote(put(quote, 28, userData)).header).toEqual({ qeSvn: 0x0201, pceSvn: 0x0403, userData });
  });

  it("leaves out the NUL that ends the chain, and nothing else", () => {
    const end =
      AT.chain + new DataView(good.quote.buffer, good.quote.byteOffset).getUint32(AT.innerLength, true);
    const { pckChain } = parseQuote(good.quote).auth;
    expect(pckChain.endsWith("-----END CERTIFICATE-----\n")).toBe(true);
    expect(parseQuote(put(good.quote, end - 1, [0x0a])).auth.pckChain).toBe(`${pckChain}\n`);
  });
});

describe("readCertificate", () => {
  it("E1: takes ecdsa-with-SHA256 only, inside the signature and outside", () => {
    const text = hex(root);
    const oidText = "2a8648ce3d040302";
    for (const at of [text.indexOf(oidText), text.lastIndexOf(oidText)]) {
      const sha384Instead = put(root, at / 2 + 7, [3]);
      expect(codeOf(() => readCertificate(sha384Instead, "certificate"))).toBe("certificate_malformed");
    }
  });

  it.each([
    ["of version 2", "a003020102", "a003020101"],
    ["with two common names", "060355040a", "0603550403"],
    ["with no common name", "0603550403", "060355040b"],
    ["with an unknown critical extension", "0603551d13", "0603551d1e"],
    ["with its basic constraints twice", "0603551d0f", "0603551d13"],
  ])("E11: refuses a certificate %s", (_name, from, to) => {
    const at = hex(root).lastIndexOf(from) / 2;
    const edited = put(root, at, Buffer.from(to, "hex"));
    expect(codeOf(() => readCertificate(edited, "certificate"))).toBe("certificate_malformed");
  });
});

describe("SGX extensions", () => {
  const SGX = "1.2.840.113741.1.13.1";
  const field = (arc: string, value: Uint8Array): Uint8Array => sequence(oid(`${SGX}.${arc}`), value);
  const svns = Array.from({ length: 17 }, (_, i) => field(`2.${i + 1}`, integer(i)));
  const fields = [
    field("1", octetString(new Uint8Array(16))),
    field("2", sequence(...svns)),
    field("3", octetString(new Uint8Array(2).fill(0xcd))),
    field("4", octetString(new Uint8Array(6).fill(0xab))),
  ];
  const read = (...parts: Uint8Array[]) =>
    readPckPlatform({ ...readCertificate(root, "certificate"), sgxExtension: sequence(...parts) });

  it("reads the platform", () => {
    expect(read(...fields)).toEqual({
      ppid: "00".repeat(16),
      fmspc: "ABABABABABAB",
      pceId: "CDCD",
      components: Array.from({ length: 16 }, (_, i) => i),
      pceSvn: 16,
    });
  });

  it("E11: refuses a field twice, missing, unknown, of another length or out of range", () => {
    const other = octetString(new Uint8Array(6));
    for (const parts of [
      [...fields, field("4", other)],
      fields.slice(1),
      fields.slice(0, 3),
      [...fields, sequence(oid("1.2.3"), other)],
      [...fields, field("4.1", other)],
      [field("1", octetString(new Uint8Array(15))), ...fields.slice(1)],
      fields.with(1, field("2", sequence(...svns.slice(1)))),
      fields.with(1, field("2", sequence(...svns, field("2.1", integer(9))))),
      fields.with(1, field("2", sequence(...svns.with(0, field("2.1", integer(256)))))),
      fields.with(1, field("2", sequence(...svns.with(16, field("2.17", integer(65_536)))))),
    ]) {
      expect(codeOf(() => read(...parts))).toBe("certificate_malformed");
    }
    expect(codeOf(() => readPckPlatform(readCertificate(root, "certificate")))).toBe("certificate_malformed");
  });
});

describe("parseCcel", () => {
  it("reads registers, types, digests and payloads, and leaves out what extends nothing", () => {
    const entries = parseCcel(concatBytes(ccel(2), record(3, 3, 1), new Uint8Array(100).fill(0xff)));
    expect(entries).toEqual([
      { imr: 0, event_type: 0, digest: "00".repeat(48), event: "", event_payload: "00" },
      { imr: 1, event_type: 1, digest: "01".repeat(48), event: "", event_payload: "01" },
    ]);
    expect(parseCcel(concatBytes(ccel(2), new Uint8Array(100)))).toHaveLength(2);
  });

  it("E11: refuses lengths and counts that are too large, and data after the end", () => {
    const log = ccel(1);
    const count = log.length - 67 + 8;
    const size = log.length - 5;
    for (const bad of [
      put(log, count, u32(0xffffffff)),
      put(log, count, u32(2)),
      put(log, size, u32(0xffffffff)),
      put(log, log.length - 67, u32(5)),
      put(log, 56, u32(9)),
      put(log, 56, u32(0)),
      concatBytes(log, new Uint8Array(4).fill(0xff), Uint8Array.of(0)),
      concatBytes(log, new Uint8Array(8), Uint8Array.of(1)),
      concatBytes(log, Uint8Array.of(1, 2, 3)),
      concatBytes(log, new Uint8Array(1024 * 1024)),
      ccel(MAX_EVENTS + 1),
    ]) {
      expect(codeOf(() => parseCcel(bad))).toBe("event_log_malformed");
    }
    expect(parseCcel(log)).toHaveLength(1);
  });
});

/** One record of 67 bytes: MR index, type, a SHA-384 digest and one byte of payload. */
function record(index: number, type: number, fill: number): Uint8Array {
  return concatBytes(
    u32(index),
    u32(type),
    u32(1),
    Uint8Array.of(0x0c, 0),
    new Uint8Array(48).fill(fill),
    u32(1),
    Uint8Array.of(fill),
  );
}

/** A log with a Spec ID event and `count` records. */
function ccel(count: number): Uint8Array {
  const spec = concatBytes(
    Buffer.from("Spec ID Event03\0"),
    new Uint8Array(8),
    u32(1),
    Uint8Array.of(0x0c, 0, 48, 0),
    Uint8Array.of(0),
  );
  const head = concatBytes(u32(1), u32(3), new Uint8Array(20), u32(spec.length), spec);
  return concatBytes(
    head,
    ...Array.from({ length: count }, (_, i) => record((i % 4) + 1, i === 3 ? 4 : i, i % 256)),
  );
}
