/** TDREPORT (Intel TDX module ABI, TDREPORT_STRUCT): what a TD gets from the module and shows to the quoting enclave. */
import { createHmac } from "node:crypto";
import { InputError, sameBytes, sha384 } from "@dstack/core";

import { TD_REPORT_BYTES } from "../lengths.js";

/** A trust domain and the TDX module it runs on. What is left out has the values of a good production TD. */
export interface SimulatedTd {
  /** 48 bytes. */
  readonly mrTd: Uint8Array;
  /** Four registers of 48 bytes. */
  readonly rtmr: readonly Uint8Array[];
  /** 8 bytes, little-endian bits; default only SEPT_VE_DISABLE. */
  readonly tdAttributes?: Uint8Array | undefined;
  /** 8 bytes. */
  readonly xfam?: Uint8Array | undefined;
  readonly mrConfigId?: Uint8Array | undefined;
  readonly mrOwner?: Uint8Array | undefined;
  readonly mrOwnerConfig?: Uint8Array | undefined;
  readonly mrServiceTd?: Uint8Array | undefined;
  /** 16 bytes: module SVN, module major version, then platform components. */
  readonly teeTcbSvn?: Uint8Array | undefined;
  /** 16 bytes, only in bodies of TD 1.5; default as `teeTcbSvn`. */
  readonly teeTcbSvn2?: Uint8Array | undefined;
  readonly mrSeam?: Uint8Array | undefined;
  readonly mrSignerSeam?: Uint8Array | undefined;
  /** 8 bytes. */
  readonly seamAttributes?: Uint8Array | undefined;
}

/** TEE_TCB_SVN of the platform: TDX module 1.x with SVN 7, current microcode. */
export const DEFAULT_TEE_TCB_SVN = Uint8Array.of(7, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const SEPT_VE_DISABLE = Uint8Array.of(0, 0, 0, 0x10, 0, 0, 0, 0);
const DEFAULT_XFAM = Uint8Array.of(0xe7, 0x02, 0x06, 0, 0, 0, 0, 0);

/** Offsets of the fields of TEE_TCB_INFO and TDINFO that a quote repeats. */
export const REPORT_FIELDS = {
  cpuSvn: [16, 16],
  reportData: [128, 64],
  teeTcbSvn: [264, 16],
  mrSeam: [280, 48],
  mrSignerSeam: [328, 48],
  seamAttributes: [376, 8],
  teeTcbSvn2: [384, 16],
  tdAttributes: [512, 8],
  xfam: [520, 8],
  mrTd: [528, 48],
  mrConfigId: [576, 48],
  mrOwner: [624, 48],
  mrOwnerConfig: [672, 48],
  rtmr0: [720, 48],
  rtmr1: [768, 48],
  rtmr2: [816, 48],
  rtmr3: [864, 48],
  mrServiceTd: [912, 48],
} as const satisfies Record<string, readonly [offset: number, length: number]>;

export type ReportField = keyof typeof REPORT_FIELDS;

/** One field of a TDREPORT. */
export function reportField(report: Uint8Array, name: ReportField): Uint8Array {
  const [offset, length] = REPORT_FIELDS[name];
  return report.slice(offset, offset + length);
}

function macOf(report: Uint8Array, macKey: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac("sha256", macKey).update(report.subarray(0, 224)).digest());
}

/** @throws {InputError} a field of the wrong length */
export function makeTdReport(
  td: SimulatedTd,
  reportData: Uint8Array,
  platform: { macKey: Uint8Array; cpuSvn: Uint8Array },
): Uint8Array {
  const report = new Uint8Array(TD_REPORT_BYTES);
  const put = (name: ReportField, value: Uint8Array | undefined): void => {
    const [offset, length] = REPORT_FIELDS[name];
    if (value === undefined) return;
    if (value.length !== length) throw new InputError(`${name} must be ${length} bytes, got ${value.length}`);
    report.set(value, offset);
  };
  if (td.rtmr.length !== 4) throw new InputError(`a TD has 4 RTMRs, got ${td.rtmr.length}`);
  report.set([0x81, 0, 1, 0], 0);
  put("cpuSvn", platform.cpuSvn);
  put("reportData", reportData);
  report.set([0xff, 0x01, 0x03], 256); // TEE_TCB_INFO valid mask: every field below
  put("teeTcbSvn", td.teeTcbSvn ?? DEFAULT_TEE_TCB_SVN);
  put("mrSeam", td.mrSeam ?? sha384("simulated TDX module (NOT HARDWARE)"));
  put("mrSignerSeam", td.mrSignerSeam);
  put("seamAttributes", td.seamAttributes);
  put("teeTcbSvn2", td.teeTcbSvn2 ?? td.teeTcbSvn ?? DEFAULT_TEE_TCB_SVN);
  put("tdAttributes", td.tdAttributes ?? SEPT_VE_DISABLE);
  put("xfam", td.xfam ?? DEFAULT_XFAM);
  put("mrTd", td.mrTd);
  put("mrConfigId", td.mrConfigId);
  put("mrOwner", td.mrOwner);
  put("mrOwnerConfig", td.mrOwnerConfig);
  for (const [i, name] of (["rtmr0", "rtmr1", "rtmr2", "rtmr3"] as const).entries()) put(name, td.rtmr[i]);
  put("mrServiceTd", td.mrServiceTd);
  report.set(sha384(report.subarray(256, 495)), 32);
  report.set(sha384(report.subarray(512, 1024)), 80);
  report.set(macOf(report, platform.macKey), 224);
  return report;
}

/**
 * What a quoting enclave checks before it signs: the report is of this platform and unchanged.
 * @throws {InputError} it is not
 */
export function checkTdReport(report: Uint8Array, macKey: Uint8Array): void {
  if (report.length !== TD_REPORT_BYTES) throw new InputError(`a TDREPORT has ${TD_REPORT_BYTES} bytes`);
  if (!sameBytes(report.slice(224, 256), macOf(report, macKey))) {
    throw new InputError("the TDREPORT was not made on this platform: its MAC is wrong");
  }
  if (
    !sameBytes(report.slice(32, 80), sha384(report.subarray(256, 495))) ||
    !sameBytes(report.slice(80, 128), sha384(report.subarray(512, 1024)))
  ) {
    throw new InputError("the TDREPORT does not match its own digests");
  }
}
