import { concatBytes, hex } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { extension } from "../../tdx-attest/src/simulated/certificates.js";
import { octetString } from "../../tdx-attest/src/simulated/der.js";
import { SimulatedPlatform } from "../../tdx-attest/src/simulated/platform.js";
import type { CertificateRole, SimulatedPlatformOptions } from "../../tdx-attest/src/simulated/platform.js";
import { QuoteVerifier, verifyQuote } from "../src/index.js";
import type { Collateral } from "../src/index.js";
import { AT, flip, growEnd, growQeAuth, otherS, put, u32 } from "./support/edit-quote.js";
import { lastCertificate, oracleStatus } from "./support/oracle.js";
import { NOW, codeOf, makeCase } from "./support/platform.js";
import type { Case, CaseOptions } from "./support/platform.js";

/**
 * Each row is one way to cheat (or one good variant), what we must say, and what `@phala/dcap-qvl` 0.3.9 says: our
 * verdict is "refuse" or equal to its own, and where the two differ the row gives the reason in `differs`.
 */
interface Row {
  readonly name: string;
  readonly make: () => Case;
  /** An error code, or the status. */
  readonly ours: string;
  readonly oracle: string;
  readonly differs?: string;
}

const platform = (
  name: string,
  options: SimulatedPlatformOptions,
  ours: string,
  oracle: string,
  differs?: string,
): Row => row(name, { platform: options }, ours, oracle, differs);

function row(name: string, options: CaseOptions, ours: string, oracle: string, differs?: string): Row {
  return { name, make: () => makeCase(options), ours, oracle, ...(differs === undefined ? {} : { differs }) };
}

function quote(
  name: string,
  edit: (quote: Uint8Array) => Uint8Array,
  ours: string,
  oracle = "refused",
  differs?: string,
): Row {
  const make = (): Case => {
    const good = makeCase();
    return { ...good, quote: edit(good.quote) };
  };
  return { name, make, ours, oracle, ...(differs === undefined ? {} : { differs }) };
}

function collateral(
  name: string,
  edit: (collateral: Collateral) => Partial<Collateral>,
  ours: string,
  oracle = "refused",
  differs?: string,
): Row {
  const make = (): Case => {
    const good = makeCase();
    return { ...good, collateral: { ...good.collateral, ...edit(good.collateral) } };
  };
  return { name, make, ours, oracle, ...(differs === undefined ? {} : { differs }) };
}

function at(name: string, now: number, ours: string, oracle: string, differs?: string): Row {
  return {
    name,
    make: () => ({ ...makeCase(), now }),
    ours,
    oracle,
    ...(differs === undefined ? {} : { differs }),
  };
}

const foreign = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7)).collateral(NOW);
const processor = makeCase({ platform: { ca: "processor" } }).collateral;
const past = new Date((NOW - 86_400) * 1000);
const longPast = new Date((NOW - 40 * 86_400) * 1000);
const future = new Date((NOW + 86_400) * 1000);
const iso = (at: Date): string => at.toISOString().replace(".000Z", "Z");
const editFirst = (text: string, from: string, to: string): string => {
  if (!text.includes(from)) throw new Error(`${from} is not in the document`);
  return text.replace(from, to);
};
const chain = (...roles: CertificateRole[]): readonly CertificateRole[] => roles;

const noCrl = "its CRLs are not authenticated";
const noRoles = "it does not check what a certificate is for";
const noModule = "it does not judge the TDX module";
const malleable = "it takes bytes that nobody signed";

const good: Row[] = [
  row("v4", {}, "UpToDate", "UpToDate"),
  row("v5 with TD 1.5", { quote: { version: 5 } }, "UpToDate", "UpToDate"),
  row("v5 with TD 1.0", { quote: { version: 5, bodyType: 2 } }, "UpToDate", "UpToDate"),
  row("zero padding", { quote: { padding: 3065 } }, "UpToDate", "UpToDate"),
  platform("a PCK of the Processor CA", { ca: "processor" }, "UpToDate", "UpToDate"),
  row(
    "no QE authentication data",
    { quote: { qeAuthData: new Uint8Array() } },
    "UpToDate",
    "refused",
    "it wants 32 bytes of QE authentication data",
  ),
  row(
    "long QE authentication data",
    { quote: { qeAuthData: new Uint8Array(500) } },
    "UpToDate",
    "refused",
    "it wants 32 bytes of QE authentication data",
  ),
  platform(
    "a PCE SVN of three DER bytes",
    { pceSvn: 40_000 },
    "UpToDate",
    "refused",
    "it reads integers of two bytes only",
  ),
  quote("the other s: the hash of a quote is no identity", otherS, "UpToDate", "UpToDate"),
  platform("SWHardeningNeeded", { tcbStatus: "SWHardeningNeeded" }, "SWHardeningNeeded", "SWHardeningNeeded"),
  platform("OutOfDate", { tcbStatus: "OutOfDate" }, "OutOfDate", "OutOfDate"),
  row(
    "a TDX module that is out of date by its own identity",
    { td: { teeTcbSvn: svn(5, 1, 3) } },
    "OutOfDate",
    "UpToDate",
    noModule,
  ),
  row(
    "a current module whose SVN is below the first TDX component (index 2 rule)",
    { td: { teeTcbSvn: svn(4, 3, 3) } },
    "UpToDate",
    "OutOfDate",
    "it compares the first two components though the module has its own identity",
  ),
  row(
    "a module of version 0, judged by all components",
    { td: { teeTcbSvn: svn(4, 0, 3) } },
    "OutOfDate",
    "OutOfDate",
  ),
  platform("a quoting enclave that is out of date", { qe: { isvSvn: 3 } }, "OutOfDate", "OutOfDate"),
  platform(
    "ConfigurationNeeded and a quoting enclave that is out of date",
    { qe: { isvSvn: 3 }, tcbStatus: "ConfigurationNeeded" },
    "OutOfDateConfigurationNeeded",
    "OutOfDate",
    "it takes the worse of two words",
  ),
];

const bad: Row[] = [
  // The quote.
  ...(
    ["signature", "attestationKey", "teeTcbSvn", "tdAttributes", "mrTd", "rtmr3", "reportData"] as const
  ).map((field) =>
    quote(
      `a bit of ${field}`,
      (q) => flip(q, AT[field]),
      field === "attestationKey" ? "qe_mismatch" : "signature_invalid",
    ),
  ),
  quote("a bit of the QE report", (q) => flip(q, AT.qeReport), "signature_invalid"),
  quote("another MRSIGNER in the QE report", (q) => flip(q, AT.qeMrSigner), "signature_invalid"),
  quote("a bit of the QE report signature", (q) => flip(q, AT.qeReportSignature), "signature_invalid"),
  quote("a bit of the QE authentication data", (q) => flip(q, AT.qeAuth), "qe_mismatch"),
  quote(
    "bytes added to the QE authentication data",
    (q) => growQeAuth(q, new Uint8Array(8)),
    "qe_mismatch",
    "UpToDate",
    malleable,
  ),
  quote("a signature of zeros", (q) => put(q, AT.signature, new Uint8Array(64)), "signature_invalid"),
  quote(
    "r = s = 1",
    (q) =>
      put(
        q,
        AT.signature,
        Uint8Array.from({ length: 64 }, (_, i) => (i % 32 === 31 ? 1 : 0)),
      ),
    "signature_invalid",
  ),
  quote("version 3", (q) => put(q, AT.version, [3]), "quote_malformed"),
  quote("version 6", (q) => put(q, AT.version, [6]), "quote_malformed"),
  quote("key type P-384", (q) => put(q, AT.keyType, [3]), "quote_malformed"),
  quote("an SGX quote", (q) => put(q, AT.teeType, [0]), "quote_malformed"),
  quote("another QE vendor", (q) => flip(q, AT.vendorId), "quote_malformed"),
  quote("no authentication data", (q) => put(q, AT.authLength, u32(0)), "quote_malformed"),
  quote(
    "2^32 − 1 bytes of authentication data",
    (q) => put(q, AT.authLength, u32(0xffffffff)),
    "quote_malformed",
  ),
  quote("2^32 − 1 bytes of certificates", (q) => put(q, AT.innerLength, u32(0xffffffff)), "quote_malformed"),
  quote(
    "65,535 bytes of QE authentication data",
    (q) => put(q, AT.qeAuthLength, [255, 255]),
    "quote_malformed",
  ),
  quote(
    "outer certification data of type 5",
    (q) => put(q, AT.outerType, [5]),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote("inner certification data of type 4", (q) => put(q, AT.innerType, [4]), "quote_malformed"),
  quote(
    "a byte behind the end",
    (q) => concatBytes(q, Uint8Array.of(1)),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote(
    "64 KiB of zeros behind the end",
    (q) => concatBytes(q, new Uint8Array(65_536)),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote("a lower-case letter in the PEM header", (q) => flip(q, AT.chain + 6), "certificate_malformed"),

  quote(
    "zeros inside the authentication data, behind its last field",
    (q) => growEnd(q, [AT.authLength]),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote(
    "zeros inside the QE certification data, behind its last field",
    (q) => growEnd(q, [AT.authLength, AT.outerLength]),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  ...[
    [3, 584],
    [2, 648],
    [1, 384],
    [4, 648],
  ].map(([type = 0, size = 0]): Row => {
    const make = (): Case => {
      const v5 = makeCase({ quote: { version: 5, bodyType: size === 584 ? 2 : 3 } });
      return { ...v5, quote: put(put(v5.quote, 48, [type]), 50, u32(size)) };
    };
    return {
      name: `a v5 body of type ${type} with ${size} bytes`,
      make,
      ours: "quote_malformed",
      oracle: "refused",
    };
  }),

  // Chains and roles.
  platform(
    "a PCK issued by another PCK",
    { certificates: { pck: { issuer: "otherPck" } }, pckChain: chain("pck", "otherPck", "pckCa", "root") },
    "certificate_malformed",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK issued by another PCK, in a chain of three",
    {
      certificates: { pck: { issuer: "otherPck" }, otherPck: { issuer: "root" } },
      pckChain: chain("pck", "otherPck", "root"),
    },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK that calls itself a CA by name only",
    {
      certificates: {
        pck: { issuer: "otherPck" },
        otherPck: { issuer: "root", commonName: "SGX PCK Platform CA" },
      },
      pckChain: chain("pck", "otherPck", "root"),
    },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK that is a CA",
    { certificates: { pck: { ca: true, keyUsage: 0x86 } } },
    "chain_invalid",
    "refused",
  ),
  platform(
    "a PCK that must not sign",
    { certificates: { pck: { keyUsage: 0x08 } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK issued by the root",
    { certificates: { pck: { issuer: "root" } }, pckChain: chain("pck", "pckCa", "root") },
    "chain_invalid",
    "refused",
  ),
  platform(
    "a chain without the PCK CA",
    { certificates: { pck: { issuer: "root" } }, pckChain: chain("pck", "root") },
    "certificate_malformed",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK CA that is no CA",
    { certificates: { pckCa: { ca: false } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK CA without the right to issue",
    { certificates: { pckCa: { keyUsage: 0x02 } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK CA without the right to sign lists",
    { certificates: { pckCa: { keyUsage: 0x04 } } },
    "crl_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a root that allows no CA below it",
    { certificates: { root: { pathLength: 0 } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "TCB info signed by a PCK key",
    { tcbChain: chain("pck", "pckCa", "root") },
    "certificate_malformed",
    "UpToDate",
    noRoles,
  ),
  platform(
    "TCB info signed by a PCK key in a chain of two",
    { certificates: { otherPck: { issuer: "root" } }, tcbChain: chain("otherPck", "root") },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform("TCB info signed by the PCK CA", { tcbChain: chain("pckCa", "root") }, "chain_invalid", "refused"),
  platform("TCB info signed by the root", { tcbChain: chain("root", "root") }, "chain_invalid", "refused"),
  platform(
    "a TCB signer issued by the PCK CA",
    { certificates: { tcbSigning: { issuer: "pckCa" } } },
    "chain_invalid",
    "refused",
  ),
  platform(
    "an unknown critical extension",
    { certificates: { pck: { extensions: [extension("1.2.3.4", octetString(new Uint8Array(1)), true)] } } },
    "certificate_malformed",
    "UpToDate",
    "it ignores critical extensions",
  ),
  platform(
    "an extension that stands twice",
    { certificates: { pck: { extensions: [extension("2.5.29.14", octetString(new Uint8Array(20)))] } } },
    "certificate_malformed",
    "UpToDate",
    "it takes the first of two extensions",
  ),
  platform("an expired PCK", { certificates: { pck: { notAfter: past } } }, "not_in_date", "refused"),
  platform(
    "an expired TCB signer",
    { certificates: { tcbSigning: { notAfter: past } } },
    "not_in_date",
    "refused",
  ),
  platform("an expired PCK CA", { certificates: { pckCa: { notAfter: past } } }, "not_in_date", "refused"),
  platform("an expired root", { certificates: { root: { notAfter: past } } }, "not_in_date", "refused"),
  platform("a PCK of tomorrow", { certificates: { pck: { notBefore: future } } }, "not_in_date", "refused"),

  // Revocation.
  platform("a revoked PCK", { revoked: ["pck"] }, "certificate_revoked", "refused"),
  platform("a revoked PCK CA", { revoked: ["pckCa"] }, "certificate_revoked", "refused"),
  platform("a revoked TCB signer", { revoked: ["tcbSigning"] }, "certificate_revoked", "refused"),
  platform(
    "an expired root CRL",
    { rootCrl: { thisUpdate: longPast, nextUpdate: past } },
    "not_in_date",
    "UpToDate",
    noCrl,
  ),
  platform(
    "an expired PCK CRL",
    { pckCrl: { thisUpdate: longPast, nextUpdate: past } },
    "not_in_date",
    "UpToDate",
    noCrl,
  ),
  platform("a PCK CRL of tomorrow", { pckCrl: { thisUpdate: future } }, "not_in_date", "UpToDate", noCrl),
  platform(
    "a root CRL signed by another key",
    { rootCrl: { signer: "pckCa" } },
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  platform(
    "a PCK CRL signed by a PCK",
    { revoked: ["pck"], pckCrl: { signer: "otherPck" } },
    "crl_invalid",
    "refused",
  ),
  platform(
    "a PCK CRL under another issuer's name",
    { pckCrl: { issuer: "root", signer: "pckCa" } },
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  platform("a PCK CRL of another issuer", { pckCrl: { issuer: "root" } }, "crl_invalid", "UpToDate", noCrl),
  ...(["root_ca_crl", "pck_crl"] as const).flatMap((field) => [
    collateral(`${field} empty`, () => ({ [field]: "" }), "certificate_malformed", "UpToDate", noCrl),
    collateral(
      `${field} garbage`,
      () => ({ [field]: "deadbeef" }),
      "certificate_malformed",
      "UpToDate",
      noCrl,
    ),
    collateral(
      `${field} cut off`,
      (c) => ({ [field]: c[field].slice(0, -20) }),
      "certificate_malformed",
      "UpToDate",
      noCrl,
    ),
    collateral(
      `${field} with a bit of its signature changed`,
      (c) => ({ [field]: flipLast(c[field]) }),
      "crl_invalid",
      "UpToDate",
      noCrl,
    ),
  ]),
  collateral(
    "the root CRL in place of the PCK CRL",
    (c) => ({ pck_crl: c.root_ca_crl }),
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  collateral(
    "the PCK CRL in place of the root CRL",
    (c) => ({ root_ca_crl: c.pck_crl }),
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  collateral(
    "the PCK CRL of the other CA, with its chain",
    () => ({ pck_crl: processor.pck_crl, pck_crl_issuer_chain: processor.pck_crl_issuer_chain }),
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),

  // Signed documents.
  collateral(
    "edited TCB info",
    (c) => ({ tcb_info: editFirst(c.tcb_info, '"isvsvn":6', '"isvsvn":1') }),
    "signature_invalid",
  ),
  collateral(
    "re-serialised TCB info",
    (c) => ({ tcb_info: editFirst(c.tcb_info, ",", ", ") }),
    "signature_invalid",
  ),
  collateral(
    "edited QE identity",
    (c) => ({ qe_identity: editFirst(c.qe_identity, '"isvsvn":4', '"isvsvn":1') }),
    "signature_invalid",
  ),
  collateral(
    "TCB info in place of the QE identity",
    (c) => ({ qe_identity: c.tcb_info, qe_identity_signature: c.tcb_info_signature }),
    "collateral_malformed",
  ),
  collateral(
    "TCB info of a foreign root",
    () => ({
      tcb_info: foreign.tcb_info,
      tcb_info_signature: foreign.tcb_info_signature,
      tcb_info_issuer_chain: foreign.tcb_info_issuer_chain,
    }),
    "root_untrusted",
  ),
  collateral(
    "a chain cut short",
    (c) => ({
      tcb_info_issuer_chain: c.tcb_info_issuer_chain.slice(
        0,
        c.tcb_info_issuer_chain.indexOf("-----END") + 26,
      ),
    }),
    "certificate_malformed",
  ),
  platform(
    "TCB info of another FMSPC",
    { editTcbInfo: (info) => void (info.fmspc = "00906ED50000") },
    "platform_mismatch",
    "refused",
  ),
  platform(
    "TCB info of another PCEID",
    { editTcbInfo: (info) => void (info.pceId = "0001") },
    "platform_mismatch",
    "UpToDate",
    "it does not compare the PCEID",
  ),
  platform(
    "TCB info for SGX",
    { editTcbInfo: (info) => void (info.id = "SGX") },
    "collateral_malformed",
    "refused",
  ),
  platform(
    "TCB info of version 2",
    { editTcbInfo: (info) => void (info.version = 2) },
    "collateral_malformed",
    "refused",
  ),
  platform(
    "TCB info of another type",
    { editTcbInfo: (info) => void (info.tcbType = 1) },
    "collateral_malformed",
    "UpToDate",
    "it ignores tcbType",
  ),
  platform("an unknown status", { tcbStatus: "Fine" }, "collateral_malformed", "refused"),
  platform(
    "QE identity of an SGX quoting enclave",
    { editQeIdentity: (id) => void (id.id = "QE") },
    "collateral_malformed",
    "refused",
  ),
  platform(
    "QE identity of version 1",
    { editQeIdentity: (id) => void (id.version = 1) },
    "collateral_malformed",
    "refused",
  ),

  platform(
    "TCB info past its next update",
    { editTcbInfo: (info) => void (info.nextUpdate = iso(past)) },
    "not_in_date",
    "refused",
  ),
  platform(
    "TCB info of tomorrow",
    { editTcbInfo: (info) => void (info.issueDate = iso(future)) },
    "not_in_date",
    "refused",
  ),
  platform(
    "QE identity past its next update",
    { editQeIdentity: (id) => void (id.nextUpdate = iso(past)) },
    "not_in_date",
    "refused",
  ),
  platform(
    "QE identity of tomorrow",
    { editQeIdentity: (id) => void (id.issueDate = iso(future)) },
    "not_in_date",
    "refused",
  ),

  // The quoting enclave.
  platform("another MRSIGNER", { qe: { mrSigner: new Uint8Array(32) } }, "qe_mismatch", "refused"),
  platform("another ISVPRODID", { qe: { isvProdId: 3 } }, "qe_mismatch", "refused"),
  platform("another MISCSELECT", { qe: { miscSelect: 1 } }, "qe_mismatch", "refused"),
  platform(
    "a quoting enclave in debug mode",
    { qe: { attributes: attributes(0x17) } },
    "qe_mismatch",
    "refused",
  ),
  platform(
    "debug mode that a mask would let through",
    {
      qe: { attributes: attributes(0x17) },
      editQeIdentity: (id) => void (id.attributesMask = "0".repeat(32)),
    },
    "qe_mismatch",
    "refused",
  ),
  platform("a quoting enclave below all levels", { qe: { isvSvn: 1 } }, "tcb_unsupported", "refused"),
  platform(
    "a revoked quoting enclave",
    { editQeIdentity: (id) => id.tcbLevels.forEach((level) => (level.tcbStatus = "Revoked")) },
    "tcb_revoked",
    "refused",
  ),

  // The platform and its TDX module.
  platform("a platform below all levels", { pceSvn: 4 }, "tcb_unsupported", "refused"),
  platform("a revoked platform", { tcbStatus: "Revoked" }, "tcb_revoked", "refused"),
  row(
    "a TDX module nobody knows",
    { td: { teeTcbSvn: svn(7, 9, 3) } },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),
  row(
    "a TDX module below all its levels",
    { td: { teeTcbSvn: svn(1, 1, 3) } },
    "tcb_unsupported",
    "OutOfDate",
    noModule,
  ),
  platform(
    "a revoked TDX module",
    {
      editTcbInfo: (info) =>
        info.tdxModuleIdentities.forEach((m) =>
          m.tcbLevels.forEach((level) => (level.tcbStatus = "Revoked")),
        ),
    },
    "tcb_revoked",
    "UpToDate",
    noModule,
  ),
  row(
    "a TDX module of another signer",
    { td: { mrSignerSeam: new Uint8Array(48).fill(1) } },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),
  row(
    "a TDX module with attributes",
    { td: { seamAttributes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) } },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),

  row(
    "attributes of the TDX module that a mask would let through",
    {
      td: { seamAttributes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) },
      platform: {
        editTcbInfo: (info) => info.tdxModuleIdentities.forEach((m) => (m.attributesMask = "0".repeat(16))),
      },
    },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),

  // The clock (E8).
  at("after nextUpdate", NOW + 40 * 86_400, "not_in_date", "refused"),
  at("before issueDate", NOW - 3 * 86_400, "not_in_date", "refused"),
  at("no number", NaN, "input_invalid", "UpToDate", "it compares with NaN"),
  at("half a second", NOW + 0.5, "input_invalid", "UpToDate", "it takes any number"),
  at("milliseconds", NOW * 1000, "not_in_date", "refused"),
  at("never", Infinity, "input_invalid", "refused"),
];

function svn(module: number, version: number, microcode: number): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set([module, version, microcode]);
  return bytes;
}

function attributes(flags: number): Uint8Array {
  return Uint8Array.from([flags, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0]);
}

function flipLast(text: string): string {
  const bytes = Buffer.from(text, "hex");
  return hex(put(bytes, bytes.length - 1, [(bytes.at(-1) ?? 0) ^ 1]));
}

function ourVerdict(make: () => Case): string {
  let status = "";
  const code = codeOf(() => (status = verifyQuote(make()).status));
  return code === "accepted" ? status : code;
}

describe("E1: good quotes", () => {
  it.each(good)("$name: $ours", ({ make, ours }) => expect(ourVerdict(make)).toBe(ours));
});

describe("E1: forged and broken quotes and collateral are refused", () => {
  it.each(bad)("$name: $ours", ({ make, ours }) => expect(ourVerdict(make)).toBe(ours));
});

/** The verdict of a verifier that has just verified the genuine quote of the same platform, collateral and chain. */
function warmVerdict(make: () => Case): string {
  const input = make();
  const genuine = makeCase();
  const verifier = new QuoteVerifier({ anchors: [...input.anchors, ...genuine.anchors] });
  const warmUp = codeOf(() => void verifier.verifyQuote(genuine));
  expect(warmUp).toBe("accepted");
  let status = "";
  const judge = (): string => codeOf(() => (status = verifier.verifyQuote(input).status));
  // Twice: whatever the first round left behind must not change the second.
  const [first, second] = [judge(), judge()];
  expect(second).toBe(first);
  return first === "accepted" ? status : first;
}

describe("E1: a verifier that remembers the genuine collateral and chain gives the same verdicts", () => {
  it.each([...good, ...bad])("$name: $ours", ({ make, ours }) => expect(warmVerdict(make)).toBe(ours));
});

describe("E1: our verdict is to refuse or an independent verifier's, or the difference has a name", () => {
  const oracleOf = (make: () => Case): string => {
    const input = make();
    return oracleStatus(input, lastCertificate(input.collateral.pck_crl_issuer_chain));
  };

  it.each(good)("$name", ({ make, ours, oracle, differs }) => {
    expect(oracleOf(make)).toBe(oracle);
    expect(oracle === ours).toBe(differs === undefined);
  });

  it.each(bad)("$name", ({ make, oracle, differs }) => {
    expect(oracleOf(make)).toBe(oracle);
    expect(oracle === "refused").toBe(differs === undefined);
  });
});

describe("E10: only named roots are trusted", () => {
  it("refuses a simulated platform under other roots", () => {
    const { anchors: _, ...input } = makeCase();
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7)).rootSha256;
    expect(codeOf(() => verifyQuote({ ...input, anchors: [{ kind: "simulated", sha256: other }] }))).toBe(
      "root_untrusted",
    );
  });

  it("refuses an anchor that calls a simulated root Intel's", () => {
    const input = makeCase();
    const anchors = input.anchors.map((anchor) => ({ ...anchor, kind: "intel" as const }));
    expect(codeOf(() => verifyQuote({ ...input, anchors }))).toBe("input_invalid");
  });

  it("refuses a quote and collateral of two trusted roots", () => {
    const input = makeCase();
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7));
    const anchors = [...input.anchors, { kind: "simulated" as const, sha256: other.rootSha256 }];
    expect(codeOf(() => verifyQuote({ ...input, collateral: foreign, anchors }))).toBe("root_untrusted");
  });
});
