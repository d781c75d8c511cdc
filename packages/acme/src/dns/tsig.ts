import { createHmac } from "node:crypto";
import { sameBytes } from "@dstack/core";
import { DnsError } from "../errors.js";
import {
  CLASS,
  RCODE,
  type ResourceRecord,
  TYPE,
  decodeMessage,
  encodeName,
  withAdditional,
} from "./message.js";

export const TSIG_ALGORITHMS = ["hmac-sha256", "hmac-sha384", "hmac-sha512"] as const;

/** A key both sides know (RFC 8945). */
export interface TsigKey {
  name: string;
  algorithm: (typeof TSIG_ALGORITHMS)[number];
  secret: Buffer;
}

/** How far the two clocks may be apart, as RFC 8945 §10 recommends. */
const FUDGE_SECONDS = 300;
/** What a server says of our signature in its TSIG record (RFC 8945 §3). */
const TSIG_ERRORS: Record<number, string> = {
  16: "the signature is wrong: check the secret of the key (BADSIG)",
  17: "it does not know the key: check its name and algorithm (BADKEY)",
  18: "its clock and ours differ by more than five minutes: set the clock (BADTIME)",
};

const withLength = (bytes: Buffer): Buffer => {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(bytes.length);
  return Buffer.concat([length, bytes]);
};

/** Unix seconds in 48 bits, then the fudge. */
function timeFields(seconds: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUIntBE(seconds, 0, 6);
  bytes.writeUInt16BE(FUDGE_SECONDS, 6);
  return bytes;
}

/** RFC 8945 §4.3: the request's MAC (answers only), the message without TSIG, the TSIG variables. */
function mac(key: TsigKey, message: Buffer, time: Buffer, end: Buffer, requestMac?: Buffer): Buffer {
  const variables = [encodeName(key.name), Buffer.from([0, CLASS.ANY, 0, 0, 0, 0])];
  return createHmac(key.algorithm.slice("hmac-".length), key.secret)
    .update(requestMac === undefined ? Buffer.alloc(0) : withLength(requestMac))
    .update(Buffer.concat([message, ...variables, encodeName(key.algorithm), time, end]))
    .digest();
}

/** Signs a message. @returns it with its TSIG record, and the MAC the answer is checked with */
export function signMessage(key: TsigKey, message: Buffer, now: number): { message: Buffer; mac: Buffer } {
  const time = timeFields(Math.floor(now / 1000));
  const noError = Buffer.alloc(4);
  const digest = mac(key, message, time, noError);
  const id = message.subarray(0, 2);
  const data = Buffer.concat([encodeName(key.algorithm), time, withLength(digest), id, noError]);
  const record: ResourceRecord = { name: key.name, type: TYPE.TSIG, class: CLASS.ANY, ttl: 0, data };
  return { message: withAdditional(message, record), mac: digest };
}

/**
 * Checks that an answer was made by who has the key, for the very request with that MAC.
 * @throws {DnsError} `denied` with the server's reason, `refused` when the answer cannot be trusted
 */
export function checkAnswer(key: TsigKey, answer: Buffer, requestMac: Buffer): void {
  const { additionals, lastRecordOffset, rcode } = decodeMessage(answer);
  const tsig = additionals.at(-1);
  // Servers do not sign a refusal to look at the request at all. Who forges one can only make us fail.
  if (tsig?.type !== TYPE.TSIG && rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return;
  if (tsig?.type !== TYPE.TSIG) throw new DnsError("refused", "the DNS server's answer is not signed");
  const fields = readTsig(tsig.data);
  const reason = TSIG_ERRORS[fields.error];
  if (reason !== undefined) throw new DnsError("denied", `the DNS server refuses key ${key.name}: ${reason}`);
  const unsigned = Buffer.from(answer.subarray(0, lastRecordOffset));
  unsigned.writeUInt16BE(additionals.length - 1, 10);
  fields.originalId.copy(unsigned, 0);
  const expected = mac(key, unsigned, fields.time, fields.end, requestMac);
  if (!sameBytes(fields.mac, expected)) {
    throw new DnsError("refused", "the DNS server's answer has a wrong signature");
  }
}

interface TsigFields {
  time: Buffer;
  mac: Buffer;
  originalId: Buffer;
  error: number;
  /** Error, other length, other data: as they are signed. */
  end: Buffer;
}

function readTsig(data: Buffer): TsigFields {
  try {
    let at = 0;
    // The algorithm's name is never compressed here (RFC 8945 §4.2).
    while (data.readUInt8(at) !== 0) at += 1 + data.readUInt8(at);
    at += 1;
    const macEnd = at + 10 + data.readUInt16BE(at + 8);
    return {
      time: data.subarray(at, at + 8),
      mac: data.subarray(at + 10, macEnd),
      originalId: data.subarray(macEnd, macEnd + 2),
      error: data.readUInt16BE(macEnd + 2),
      end: data.subarray(macEnd + 2),
    };
  } catch (err) {
    throw new DnsError("refused", "the DNS server's signature cannot be read", {}, { cause: err });
  }
}
