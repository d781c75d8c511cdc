import type { X509Certificate } from "node:crypto";
import { hex, x509FromDer } from "@dstack/core";
import { der, octetString, sequence } from "../../../tdx-attest/src/simulated/der.js";
import { readCertificate } from "../../src/certificate.js";
import { readCrl } from "../../src/crl.js";
import { DerReader, Tag } from "../../src/der.js";
import { QuoteError, parseQuote } from "../../src/index.js";
import { readPckPlatform } from "../../src/pck-extension.js";
import { readPckChain } from "../../src/pck-chain.js";
import { decodePem } from "../../src/pem.js";
import { makeCase } from "../../test/support/platform.js";
import { fromHex, require, sameBytes, text, utf8 } from "../target.js";
import type { Target } from "../target.js";

const good = makeCase();
const chain = parseQuote(good.quote).auth.pckChain;
const [pck, ca, root] = decodePem(chain, 3, "chain");
const [signer] = decodePem(good.collateral.tcb_info_issuer_chain, 2, "chain");
const processorPck = decodePem(
  parseQuote(makeCase({ platform: { ca: "processor" } }).quote).auth.pckChain,
  3,
  "chain",
)[0];
const pckCertificate = readCertificate(pck, "certificate");
const caCertificate = readCertificate(ca, "certificate");

/** Tags, awkward lengths, and the identifiers of what we look for. */
const WORDS = [
  ...["30", "31", "02", "03", "04", "05", "06", "0101ff", "0500", "0c", "13", "17", "18", "a0", "a3"].map(
    fromHex,
  ),
  ...[
    "80",
    "8180",
    "81ff",
    "820100",
    "8300ffff",
    "84ffffffff",
    "8500000001",
    "0200",
    "020100",
    "02020080",
  ].map(fromHex),
  ...["0603550403", "0603551d0f", "0603551d13", "0603551d14", "300a06082a8648ce3d040302"].map(fromHex),
  ...["170d3439313233313233353935395a", "180f32303530303130313030303030305a"].map(fromHex),
  fromHex("060a2a864886f84d010d0104"),
];

const TAGS = Object.keys(Tag) as (keyof typeof Tag)[];
const CONSTRUCTED: readonly string[] = ["sequence", "set", "explicit0", "explicit3"];

/** Everything in it, and that each element is the one encoding of its content. */
function walk(bytes: Uint8Array, depth: number): void {
  const reader = new DerReader(bytes, "it");
  const again = new DerReader(bytes, "it");
  while (!reader.done) {
    const tag = TAGS.find((name) => reader.at(name));
    if (tag === undefined) throw reader.error("a tag is not known");
    const element = reader.element(tag);
    const content = again.content(tag);
    require(sameBytes(element, der(Tag[tag], content)), "an element has a second encoding");
    if (tag === "integer") new DerReader(element, "it").unsigned();
    if (tag === "utcTime" || tag === "generalizedTime") {
      require(Number.isSafeInteger(new DerReader(element, "it").time()), "a time is no number");
    }
    if (CONSTRUCTED.includes(tag) && depth < 20) walk(content, depth + 1);
  }
}

export const derElements: Target = {
  name: "der",
  seeds: () => [pck, ca, root, fromHex(good.collateral.pck_crl)],
  words: WORDS,
  refusals: [QuoteError],
  read: (input) => walk(input, 0),
};

export const certificate: Target = {
  name: "certificate",
  seeds: () => [pck, ca, root, signer, processorPck],
  words: WORDS,
  refusals: [QuoteError],
  read: (input) => {
    const read = readCertificate(input, "certificate");
    require(read.serial.length <= 40 && read.spki.length === 91, "a part has another length");
    // OpenSSL reads with another eye; where it reads at all, both must have read the same.
    const openssl = opensslReads(input);
    if (openssl === undefined) return;
    require(BigInt(`0x${openssl.serialNumber}`) ===
      BigInt(`0x${read.serial}`), "another serial number than OpenSSL");
    require(Date.parse(openssl.validFrom) / 1000 === read.notBefore, "another beginning than OpenSSL");
    require(Date.parse(openssl.validTo) / 1000 === read.notAfter, "another end than OpenSSL");
    const spki = openssl.publicKey.export({ type: "spki", format: "der" });
    require(sameBytes(spki, read.spki), "another key than OpenSSL");
  },
};

/** Undefined where OpenSSL refuses, the certificate or its key. */
function opensslReads(input: Uint8Array): X509Certificate | undefined {
  try {
    const read = x509FromDer(input);
    void read.publicKey;
    return read;
  } catch {
    return undefined;
  }
}

const SIGNED_LISTS = [
  good.collateral.pck_crl,
  makeCase({ platform: { revoked: ["pck", "otherPck"] } }).collateral.pck_crl,
].map(fromHex);

export const crl: Target = {
  name: "crl",
  seeds: () => [...SIGNED_LISTS, fromHex(good.collateral.root_ca_crl)],
  words: WORDS,
  refusals: [QuoteError],
  read: (input) => {
    readCrl(hex(input), caCertificate, "CRL");
    // Only what the CA signed comes so far, and it signed these.
    const signed = SIGNED_LISTS.some((list) => sameBytes(list, input));
    require(signed, "a list that the CA did not sign");
  },
};

export const pem: Target = {
  name: "pem",
  seeds: () => [utf8(chain), utf8(good.collateral.tcb_info_issuer_chain)],
  words: [
    "-----BEGIN CERTIFICATE-----\n",
    "-----END CERTIFICATE-----\n",
    "\n",
    "\r\n",
    "=",
    "==",
    " ",
    "A",
  ].map(utf8),
  refusals: [QuoteError],
  read: (input) => {
    const given = text(input);
    const written = decodePem(given, 3, "chain").map(encodePem).join("");
    require(given === written || `${given}\n` === written, "one chain has two texts");
  },
};

function encodePem(bytes: Uint8Array): string {
  const lines = Buffer.from(bytes)
    .toString("base64")
    .replaceAll(/.{1,64}/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}-----END CERTIFICATE-----\n`;
}

export const pckChain: Target = {
  name: "pck-chain",
  seeds: () => [
    utf8(chain),
    utf8(parseQuote(makeCase({ platform: { ca: "processor" } }).quote).auth.pckChain),
  ],
  refusals: [QuoteError],
  read: (input) => {
    const { pck: leaf, platform } = readPckChain(text(input));
    require(/^[0-9A-F]{12}$/.test(platform().fmspc), "an FMSPC is not what it must be");
    require([pck, processorPck].some((known) =>
      sameBytes(leaf.der, known),
    ), "a PCK that the CA did not issue");
  },
};

export const pckExtension: Target = {
  name: "pck-extension",
  seeds: () => [pckCertificate.sgxExtension ?? new Uint8Array(), sequence(octetString(new Uint8Array(4)))],
  words: [
    ...WORDS,
    ...Array.from({ length: 20 }, (_, arc) =>
      fromHex(`060b2a864886f84d010d0102${arc.toString(16).padStart(2, "0")}`),
    ),
  ],
  refusals: [QuoteError],
  read: (input) => {
    const platform = readPckPlatform({ ...pckCertificate, sgxExtension: input });
    require(/^[0-9a-f]{32}$/.test(platform.ppid), "a PPID is not what it must be");
    require(/^[0-9A-F]{12}$/.test(platform.fmspc) &&
      /^[0-9A-F]{4}$/.test(platform.pceId), "an FMSPC or PCEID is not");
    const svns = [...platform.components, platform.pceSvn];
    require(svns.length === 17 && svns.every((svn) => svn >= 0 && svn <= 65_535), "an SVN is out of range");
  },
};
