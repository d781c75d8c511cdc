/** Messages of Intel's Quote Generation Service (`qgs_msg_lib.h`): packed, little-endian, without the stream's prefix. */
import { concatBytes } from "@dstack/core";
import { DeviceError } from "../quote-provider.js";
import { TD_REPORT_BYTES } from "../lengths.js";

const GET_QUOTE_REQUEST = 0;
const GET_QUOTE_RESPONSE = 1;
const HEADER_BYTES = 16;
/** Header and two sizes. */
const RESPONSE_HEAD_BYTES = HEADER_BYTES + 8;
/** The shortest quote: header, TD 1.0 body and signature data (Intel "TDX DCAP Quoting Library API"). */
export const MIN_QUOTE_BYTES = 1020;
/** Intel's service answers with at most 16 KiB; room is left for what comes after. */
export const MAX_QGS_MESSAGE_BYTES = 64 * 1024;

/** Asks for a quote over a TDREPORT of 1024 bytes. */
export function encodeGetQuoteRequest(report: Uint8Array): Uint8Array {
  const head = new DataView(new ArrayBuffer(HEADER_BYTES + 8));
  head.setUint16(0, 1, true); // major version
  head.setUint16(2, 1, true); // minor version
  head.setUint32(4, GET_QUOTE_REQUEST, true);
  head.setUint32(8, head.byteLength + TD_REPORT_BYTES, true);
  head.setUint32(16, TD_REPORT_BYTES, true);
  head.setUint32(20, 0, true); // no list of enclave ids: any will do
  return concatBytes(new Uint8Array(head.buffer), report);
}

/**
 * The quote in an answer.
 * @throws {DeviceError} `quote_failed`
 */
export function decodeGetQuoteResponse(message: Uint8Array): Uint8Array {
  if (message.length < RESPONSE_HEAD_BYTES) throw failed(`it has only ${message.length} bytes`);
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const [major, type, size, error] = [
    view.getUint16(0, true),
    view.getUint32(4, true),
    view.getUint32(8, true),
    view.getUint32(12, true),
  ];
  if (major !== 1) throw failed(`version ${major} is not known`);
  if (type !== GET_QUOTE_RESPONSE) throw failed(`type ${type} is not an answer to get-quote`);
  if (size !== message.length) throw failed(`it says ${size} bytes and has ${message.length}`);
  if (error !== 0) throw failed(`it carries error 0x${error.toString(16)}`);
  const idBytes = view.getUint32(16, true);
  const quoteBytes = view.getUint32(20, true);
  if (RESPONSE_HEAD_BYTES + idBytes + quoteBytes !== message.length) throw failed("its parts do not add up");
  if (quoteBytes < MIN_QUOTE_BYTES) throw failed(`its quote has only ${quoteBytes} bytes`);
  return message.slice(RESPONSE_HEAD_BYTES + idBytes);
}

function failed(message: string): DeviceError {
  return new DeviceError("quote_failed", `answer of the quote generation service: ${message}`);
}
