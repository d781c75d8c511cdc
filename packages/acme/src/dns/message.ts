import { DnsError } from "../errors.js";
import type { DnsRecord } from "./provider.js";

// DNS messages as far as dynamic update needs them (RFC 1035 §4.1, RFC 2136 §2, RFC 8659 §4.1).

export const TYPE = { SOA: 6, TXT: 16, TSIG: 250, CAA: 257 } as const;
export const CLASS = { IN: 1, NONE: 254, ANY: 255 } as const;
export const RCODE = { NOERROR: 0, NXDOMAIN: 3, REFUSED: 5, NOTAUTH: 9 } as const;
export const OPCODE = { QUERY: 0, UPDATE: 5 } as const;

export interface ResourceRecord {
  name: string;
  type: number;
  class: number;
  ttl: number;
  data: Buffer;
}

export interface Message {
  id: number;
  opcode: number;
  rcode: number;
  question: { name: string; type: number };
  answers: ResourceRecord[];
  authorities: ResourceRecord[];
  additionals: ResourceRecord[];
  /** Where the last record of the message begins: TSIG signs what is before it (RFC 8945 §4.3.2). */
  lastRecordOffset: number;
}

const u16 = (n: number): Buffer => Buffer.from([n >> 8, n & 0xff]);
const u32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(n);
  return bytes;
};

/** Uncompressed, lower case: the canonical form TSIG signs. */
export function encodeName(name: string): Buffer {
  const labels = name === "" ? [] : name.toLowerCase().split(".");
  const parts = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...parts, Buffer.from([0])]);
}

export function encodeRecord(record: ResourceRecord): Buffer {
  const { name, type, ttl, data } = record;
  return Buffer.concat([encodeName(name), u16(type), u16(record.class), u32(ttl), u16(data.length), data]);
}

/** A query has no `records`; an update carries its changes in the authority section (RFC 2136 §2). */
export function encodeMessage(message: {
  id: number;
  opcode: number;
  question: { name: string; type: number };
  records?: readonly ResourceRecord[];
}): Buffer {
  const { id, opcode, question, records = [] } = message;
  const counts = [1, 0, records.length, 0].map(u16);
  const asked = [encodeName(question.name), u16(question.type), u16(CLASS.IN)];
  return Buffer.concat([u16(id), u16(opcode << 11), ...counts, ...asked, ...records.map(encodeRecord)]);
}

/** Appends a record to the additional section. */
export function withAdditional(message: Buffer, record: ResourceRecord): Buffer {
  const whole = Buffer.concat([message, encodeRecord(record)]);
  whole.writeUInt16BE(whole.readUInt16BE(10) + 1, 10);
  return whole;
}

class Reader {
  offset = 0;
  constructor(readonly bytes: Buffer) {}

  take(length: number): Buffer {
    if (this.offset + length > this.bytes.length) throw new DnsError("refused", "DNS answer is cut short");
    const part = this.bytes.subarray(this.offset, this.offset + length);
    this.offset += length;
    return part;
  }
  u8 = (): number => this.take(1).readUInt8();
  u16 = (): number => this.take(2).readUInt16BE();
  u32 = (): number => this.take(4).readUInt32BE();

  name(): string {
    const labels: string[] = [];
    let resume: number | undefined;
    // Each pointer must lead backwards, so that they end.
    for (let limit = this.offset; ;) {
      const length = this.u8();
      if (length === 0) break;
      if (length < 64) {
        labels.push(this.take(length).toString("latin1").toLowerCase());
        continue;
      }
      const target = ((length & 0x3f) << 8) | this.u8();
      if (length < 192 || target >= limit) throw new DnsError("refused", "DNS answer has a bad name");
      resume ??= this.offset;
      limit = this.offset = target;
    }
    this.offset = resume ?? this.offset;
    return labels.join(".");
  }

  record(): ResourceRecord {
    const name = this.name();
    const [type, cls, ttl] = [this.u16(), this.u16(), this.u32()];
    return { name, type, class: cls, ttl, data: this.take(this.u16()) };
  }
}

/** @throws {DnsError} not a DNS message */
export function decodeMessage(bytes: Buffer): Message {
  const reader = new Reader(bytes);
  const [id, flags] = [reader.u16(), reader.u16()];
  const counts = [reader.u16(), reader.u16(), reader.u16(), reader.u16()] as const;
  const question = { name: "", type: 0 };
  for (let i = 0; i < counts[0]; i++) {
    question.name = reader.name();
    question.type = reader.u16();
    reader.u16();
  }
  let lastRecordOffset = reader.offset;
  const section = (count: number): ResourceRecord[] =>
    Array.from({ length: count }, () => {
      lastRecordOffset = reader.offset;
      return reader.record();
    });
  const [answers, authorities, additionals] = [section(counts[1]), section(counts[2]), section(counts[3])];
  const header = { id, opcode: (flags >> 11) & 15, rcode: flags & 15 };
  return { ...header, question, answers, authorities, additionals, lastRecordOffset };
}

/** The data of a TXT or CAA record. */
export function encodeData(record: DnsRecord): Buffer {
  if (record.type === "TXT") {
    const text = Buffer.from(record.text);
    return Buffer.concat([Buffer.from([text.length]), text]);
  }
  const tag = Buffer.from(record.tag);
  return Buffer.concat([Buffer.from([record.flags, tag.length]), tag, Buffer.from(record.value)]);
}

/** The opposite of {@link encodeData}; several character-strings of a TXT record are joined. */
export function decodeData(record: ResourceRecord): DnsRecord | undefined {
  const { name, data } = record;
  if (record.type === TYPE.TXT) {
    let text = "";
    for (let at = 0; at < data.length; at += 1 + (data[at] ?? 0)) {
      text += data.subarray(at + 1, at + 1 + (data[at] ?? 0)).toString();
    }
    return { type: "TXT", name, text };
  }
  if (record.type !== TYPE.CAA || data.length < 2) return undefined;
  const valueAt = 2 + data.readUInt8(1);
  return {
    type: "CAA",
    name,
    flags: data.readUInt8(0),
    tag: data.subarray(2, valueAt).toString(),
    value: data.subarray(valueAt).toString(),
  };
}
