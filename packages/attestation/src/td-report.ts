import type { ByteReader } from "./byte-reader.js";

/** Bytes of a TD 1.0 report body (Intel TDX DCAP Quoting Library API, "TD Quote Body"). */
export const TD_REPORT_10_BYTES = 584;
/** Bytes of a TD 1.5 report body: the 1.0 body, TEE_TCB_SVN_2 and MRSERVICETD. */
export const TD_REPORT_15_BYTES = 648;

/** What the TDX module says of a TD. Registers are 48 bytes. */
export interface TdReportBody {
  /** 16 bytes; [0] is the SVN of the TDX module, [1] its major version. */
  readonly teeTcbSvn: Uint8Array;
  readonly mrSeam: Uint8Array;
  readonly mrSignerSeam: Uint8Array;
  /** 8 bytes, little-endian. */
  readonly seamAttributes: Uint8Array;
  /** 8 bytes, little-endian. */
  readonly tdAttributes: Uint8Array;
  /** 8 bytes, little-endian. */
  readonly xfam: Uint8Array;
  readonly mrTd: Uint8Array;
  readonly mrConfigId: Uint8Array;
  readonly mrOwner: Uint8Array;
  readonly mrOwnerConfig: Uint8Array;
  readonly rtmr: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  /** 64 bytes. */
  readonly reportData: Uint8Array;
  /** TD 1.5 only: 16 bytes, the module running now where `teeTcbSvn` is the one the TD was launched on. */
  readonly teeTcbSvn2?: Uint8Array;
  /** TD 1.5 only. */
  readonly mrServiceTd?: Uint8Array;
}

/** Reads a body of 584 (TD 1.0) or 648 (TD 1.5) bytes. */
export function readTdReportBody(reader: ByteReader, td15: boolean): TdReportBody {
  const register = (what: string): Uint8Array => reader.bytes(48, what);
  return {
    teeTcbSvn: reader.bytes(16, "TEE_TCB_SVN"),
    mrSeam: register("MRSEAM"),
    mrSignerSeam: register("MRSIGNERSEAM"),
    seamAttributes: reader.bytes(8, "SEAMATTRIBUTES"),
    tdAttributes: reader.bytes(8, "TDATTRIBUTES"),
    xfam: reader.bytes(8, "XFAM"),
    mrTd: register("MRTD"),
    mrConfigId: register("MRCONFIGID"),
    mrOwner: register("MROWNER"),
    mrOwnerConfig: register("MROWNERCONFIG"),
    rtmr: [register("RTMR0"), register("RTMR1"), register("RTMR2"), register("RTMR3")],
    reportData: reader.bytes(64, "REPORTDATA"),
    ...(td15 ? { teeTcbSvn2: reader.bytes(16, "TEE_TCB_SVN_2"), mrServiceTd: register("MRSERVICETD") } : {}),
  };
}
