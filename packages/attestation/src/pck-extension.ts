import { hex } from "@dstack/core";
import type { Certificate } from "./certificate.js";
import { DerReader } from "./der.js";

/** 1.2.840.113741.1.13.1, the arc all SGX extensions live under. */
const SGX_ARC = "2a864886f84d010d01";
const COMPONENTS = 16;

/** What a PCK certificate says of the platform it was issued to. */
export interface PckPlatform {
  /** 32 lower-case hex digits: one processor package. */
  readonly ppid: string;
  /** 12 upper-case hex digits, as Intel writes it: the family TCB info is published for. */
  readonly fmspc: string;
  /** 4 upper-case hex digits. */
  readonly pceId: string;
  /** 16 SVNs. */
  readonly components: readonly number[];
  readonly pceSvn: number;
}

/**
 * Reads the SGX extensions (Intel "SGX PCK Certificate and CRL Profile Specification" §1.3.5).
 * @throws {QuoteError} `certificate_malformed`
 */
export function readPckPlatform(pck: Certificate): PckPlatform {
  const outer = new DerReader(pck.sgxExtension ?? new Uint8Array(), "SGX extensions of the PCK certificate");
  const fields = readFields(outer.open("sequence"), SGX_ARC);
  outer.expectEnd();
  const octets = (arc: number, length: number): string => {
    const field = required(fields, arc, outer);
    const value = field.content("octetString");
    field.expectEnd();
    if (value.length !== length) throw outer.error(`field ${arc} is not ${length} bytes long`);
    return hex(value);
  };
  const tcb = required(fields, 2, outer);
  const components = readFields(tcb.open("sequence"), `${SGX_ARC}02`);
  tcb.expectEnd();
  const svn = (arc: number, max: number): number => {
    const field = required(components, arc, outer);
    const value = field.smallInteger(max);
    field.expectEnd();
    return value;
  };
  return {
    ppid: octets(1, 16),
    fmspc: octets(4, 6).toUpperCase(),
    pceId: octets(3, 2).toUpperCase(),
    components: Array.from({ length: COMPONENTS }, (_, index) => svn(index + 1, 255)),
    pceSvn: svn(COMPONENTS + 1, 65535),
  };
}

/** A list of (OID, value): the reader of each value by the last arc of its OID, each of which may stand once. */
function readFields(list: DerReader, arc: string): Map<number, DerReader> {
  const fields = new Map<number, DerReader>();
  while (!list.done) {
    const field = list.open("sequence");
    const oid = field.oid();
    const last = parseInt(oid.slice(arc.length), 16);
    if (!oid.startsWith(arc) || oid.length !== arc.length + 2) throw list.error(`field ${oid} is not known`);
    if (fields.has(last)) throw list.error(`field ${oid} stands twice`);
    fields.set(last, field);
  }
  return fields;
}

function required(fields: ReadonlyMap<number, DerReader>, arc: number, list: DerReader): DerReader {
  const field = fields.get(arc);
  if (field === undefined) throw list.error(`field ${arc} is missing`);
  return field;
}
