/** Quotes v4 and v5 (Intel "TDX DCAP Quoting Library API", appendix A.3 and A.4). Everything is little-endian. */
import { concatBytes, fromHex, sha256, utf8 } from "@dstack/core";
import type { SigningKey } from "./signing-key.js";
import { reportField } from "./td-report.js";

const QE_VENDOR_ID = fromHex("939a7233f79c4ca9940a0db3957f0607");

export interface QuoteOptions {
  /** Default 4. */
  readonly version?: 4 | 5 | undefined;
  /** Body of a v5 quote: 2 = TD 1.0, 3 = TD 1.5 (default). A v4 quote always has a TD 1.0 body. */
  readonly bodyType?: 2 | 3 | undefined;
  /** Zero bytes after the quote, as some platforms pad theirs. Default 0. */
  readonly padding?: number | undefined;
  /** Default the 32 bytes 00 … 1f that real quotes have. */
  readonly qeAuthData?: Uint8Array | undefined;
}

/** The quoting enclave's own report, as the PCK key signs it. */
export interface QeReportFields {
  /** 16 bytes. */
  readonly cpuSvn: Uint8Array;
  readonly miscSelect: number;
  /** 16 bytes. */
  readonly attributes: Uint8Array;
  /** 32 bytes. */
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly isvSvn: number;
}

export interface QuoteSigners {
  readonly attestationKey: SigningKey;
  readonly pckKey: SigningKey;
  readonly qe: QeReportFields;
  /** PCK certificate, its CA and the root, PEM, in this order. */
  readonly pckChainPem: string;
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8);
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function header(version: number): Uint8Array {
  return concatBytes(u16(version), u16(2), u32(0x81), u16(0), u16(0), QE_VENDOR_ID, new Uint8Array(20));
}

/** The TD report body that a quote signs: 584 bytes for TD 1.0, 648 for TD 1.5. */
function body(report: Uint8Array, td15: boolean): Uint8Array {
  const fields = (
    [
      ["teeTcbSvn", "mrSeam", "mrSignerSeam", "seamAttributes", "tdAttributes", "xfam", "mrTd", "mrConfigId"],
      ["mrOwner", "mrOwnerConfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "reportData"],
      td15 ? (["teeTcbSvn2", "mrServiceTd"] as const) : [],
    ] as const
  ).flat();
  return concatBytes(...fields.map((name) => reportField(report, name)));
}

function qeReport(qe: QeReportFields, binding: Uint8Array): Uint8Array {
  const report = new Uint8Array(384);
  report.set(qe.cpuSvn, 0);
  report.set(u32(qe.miscSelect), 16);
  report.set(qe.attributes, 48);
  report.set(sha256("simulated TD quoting enclave (NOT HARDWARE)"), 64);
  report.set(qe.mrSigner, 128);
  report.set(u16(qe.isvProdId), 256);
  report.set(u16(qe.isvSvn), 258);
  report.set(binding, 320);
  return report;
}

/** A quote over a TDREPORT. */
export function writeQuote(
  report: Uint8Array,
  signers: QuoteSigners,
  options: QuoteOptions = {},
): Uint8Array {
  const version = options.version ?? 4;
  const bodyType = version === 4 ? 2 : (options.bodyType ?? 3);
  const tdBody = body(report, bodyType === 3);
  const descriptor = version === 4 ? new Uint8Array() : concatBytes(u16(bodyType), u32(tdBody.length));
  const signed = concatBytes(header(version), descriptor, tdBody);

  const { attestationKey, pckKey } = signers;
  const qeAuth = options.qeAuthData ?? Uint8Array.from({ length: 32 }, (_, i) => i);
  const qe = qeReport(signers.qe, sha256(attestationKey.point, qeAuth));
  const chain = utf8(`${signers.pckChainPem}\0`); // NUL-terminated, as Intel's
  const certification = concatBytes(
    qe,
    pckKey.sign(qe),
    u16(qeAuth.length),
    qeAuth,
    u16(5),
    u32(chain.length),
    chain,
  );
  const authData = concatBytes(
    attestationKey.sign(signed),
    attestationKey.point,
    u16(6),
    u32(certification.length),
    certification,
  );
  return concatBytes(signed, u32(authData.length), authData, new Uint8Array(options.padding ?? 0));
}
