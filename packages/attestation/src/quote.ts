import { hex } from "@dstack/core";
import { ByteReader } from "./byte-reader.js";
import { QuoteError } from "./errors.js";
import { TD_REPORT_10_BYTES, TD_REPORT_15_BYTES, readTdReportBody } from "./td-report.js";
import type { TdReportBody } from "./td-report.js";

/** Longest quote we read, padding included. The largest genuine one seen is a zero-padded buffer of 8,000 bytes. */
export const MAX_QUOTE_BYTES = 64 * 1024;

const HEADER_BYTES = 48;
const INTEL_QE_VENDOR_ID = "939a7233f79c4ca9940a0db3957f0607";
const KEY_TYPE_ECDSA_P256 = 2;
const TEE_TYPE_TDX = 0x81;
const BODY_TYPE_TD_10 = 2;
const BODY_TYPE_TD_15 = 3;
const CERT_TYPE_PCK_CHAIN = 5;
const CERT_TYPE_QE_REPORT = 6;

export interface QuoteHeader {
  readonly qeSvn: number;
  readonly pceSvn: number;
  /** 20 bytes; the first 16 are the id of the quoting enclave's platform. */
  readonly userData: Uint8Array;
}

/** The SGX report of the quoting enclave. */
export interface QeReport {
  /** All 384 bytes: what the PCK key signs. */
  readonly bytes: Uint8Array;
  readonly miscSelect: Uint8Array;
  readonly attributes: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
  readonly reportData: Uint8Array;
}

export interface QuoteAuth {
  /** r ‖ s, 64 bytes, by the attestation key over {@link Quote.signedBytes}. */
  readonly signature: Uint8Array;
  /** x ‖ y of the attestation key on P-256, 64 bytes. */
  readonly attestationKey: Uint8Array;
  readonly qeReport: QeReport;
  /** r ‖ s, 64 bytes, by the PCK key over the QE report. */
  readonly qeReportSignature: Uint8Array;
  readonly qeAuthData: Uint8Array;
  /** PEM: PCK certificate, its CA, the root. Without the NUL that ends it in the quote. */
  readonly pckChain: string;
}

/** A quote taken apart. Nothing in it is verified. */
export interface Quote {
  readonly version: 4 | 5;
  readonly header: QuoteHeader;
  readonly body: TdReportBody;
  readonly auth: QuoteAuth;
  /** Header, for v5 the body descriptor, and body. */
  readonly signedBytes: Uint8Array;
}

/**
 * Takes a TDX quote of version 4 or 5 apart; fields are views into a copy of its own. It accepts one form only: ECDSA
 * P-256, certification data of type 6 holding type 5, every length consumed exactly, then nothing but zero bytes.
 * @throws {QuoteError} `quote_malformed`
 */
export function parseQuote(given: Uint8Array): Quote {
  if (given.length > MAX_QUOTE_BYTES) throw malformed(`it is longer than ${MAX_QUOTE_BYTES} bytes`);
  // What was verified must stay what is read later, though the caller's buffer be filled again.
  const bytes = new Uint8Array(given);
  const reader = new ByteReader(bytes, malformed);
  const version = reader.u16("version");
  if (version !== 4 && version !== 5) throw malformed(`version ${version} is not supported`);
  const header = readHeader(reader);
  const td15 = version === 5 && readBodyIsTd15(reader);
  const body = readTdReportBody(reader, td15);
  const signedBytes = bytes.subarray(0, reader.offset);
  const auth = readAuth(reader.bytes(reader.u32("length of the authentication data"), "authentication data"));
  if (reader.bytes(reader.remaining, "padding").some((byte) => byte !== 0)) {
    throw malformed("bytes that are not zero follow the authentication data");
  }
  return { version, header, body, auth, signedBytes };
}

function readHeader(reader: ByteReader): QuoteHeader {
  const keyType = reader.u16("key type");
  if (keyType !== KEY_TYPE_ECDSA_P256) throw malformed(`attestation key type ${keyType} is not supported`);
  const teeType = reader.u32("TEE type");
  if (teeType !== TEE_TYPE_TDX) throw malformed(`TEE type 0x${teeType.toString(16)} is not TDX`);
  const qeSvn = reader.u16("QE SVN");
  const pceSvn = reader.u16("PCE SVN");
  if (hex(reader.bytes(16, "QE vendor id")) !== INTEL_QE_VENDOR_ID)
    throw malformed("the QE vendor is not Intel");
  const userData = reader.bytes(HEADER_BYTES - reader.offset, "user data");
  return { qeSvn, pceSvn, userData };
}

/** The body descriptor of version 5: type and size must agree. */
function readBodyIsTd15(reader: ByteReader): boolean {
  const type = reader.u16("body type");
  const size = reader.u32("body size");
  if (type === BODY_TYPE_TD_10 && size === TD_REPORT_10_BYTES) return false;
  if (type === BODY_TYPE_TD_15 && size === TD_REPORT_15_BYTES) return true;
  throw malformed(`body type ${type} of ${size} bytes is not a TD report`);
}

function readAuth(bytes: Uint8Array): QuoteAuth {
  const reader = new ByteReader(bytes, malformed);
  const signature = reader.bytes(64, "signature");
  const attestationKey = reader.bytes(64, "attestation key");
  const qeCertification = readCertificationData(reader, CERT_TYPE_QE_REPORT, "QE certification data");
  reader.expectEnd("the QE certification data");
  const inner = new ByteReader(qeCertification, malformed);
  const qeReport = readQeReport(inner.bytes(384, "QE report"));
  const qeReportSignature = inner.bytes(64, "QE report signature");
  const qeAuthData = inner.bytes(inner.u16("length of the QE authentication data"), "QE authentication data");
  const pckChain = readChainText(readCertificationData(inner, CERT_TYPE_PCK_CHAIN, "PCK certificate chain"));
  inner.expectEnd("the PCK certificate chain");
  return { signature, attestationKey, qeReport, qeReportSignature, qeAuthData, pckChain };
}

function readCertificationData(reader: ByteReader, expected: number, what: string): Uint8Array {
  const type = reader.u16(`type of the ${what}`);
  if (type !== expected) throw malformed(`${what} is of type ${type}, only ${expected} is supported`);
  return reader.bytes(reader.u32(`length of the ${what}`), what);
}

function readQeReport(bytes: Uint8Array): QeReport {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    bytes,
    miscSelect: bytes.subarray(16, 20),
    attributes: bytes.subarray(48, 64),
    mrSigner: bytes.subarray(128, 160),
    isvProdId: view.getUint16(256, true),
    isvSvn: view.getUint16(258, true),
    reportData: bytes.subarray(320, 384),
  };
}

/** The quoting library writes the chain as a C string; the NUL is counted. */
function readChainText(bytes: Uint8Array): string {
  const text = bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes;
  return Buffer.from(text.buffer, text.byteOffset, text.byteLength).toString("latin1");
}

function malformed(message: string): QuoteError {
  return new QuoteError("quote_malformed", `reading quote: ${message}`);
}
