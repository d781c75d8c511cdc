import { createHash } from "node:crypto";
import { InputError, concatBytes, utf8 } from "@dstack/core";
import { keccak_256, keccak_384, keccak_512 } from "@noble/hashes/sha3.js";

/** TDREPORT.REPORTDATA: what a quote can carry from its caller (Intel TDX module ABI). */
export const REPORT_DATA_BYTES = 64;

type Hash = (data: Uint8Array) => Uint8Array;

const openssl =
  (algorithm: string): Hash =>
  (data) =>
    new Uint8Array(createHash(algorithm).update(data).digest());

/** Every hash a caller may name; `raw` is not one. */
const HASHES: ReadonlyMap<string, Hash> = new Map([
  ["sha256", openssl("sha256")],
  ["sha384", openssl("sha384")],
  ["sha512", openssl("sha512")],
  ["sha3-256", openssl("sha3-256")],
  ["sha3-384", openssl("sha3-384")],
  ["sha3-512", openssl("sha3-512")],
  ["keccak256", keccak_256],
  ["keccak384", keccak_384],
  ["keccak512", keccak_512],
]);

/**
 * The report data of an application's quote: `hash("app-data:" || data)`, padded on the right with zeros to 64
 * bytes. The prefix keeps application quotes apart from the ones that identify the VM (`ratls-cert:`).
 * @param algorithm empty means `sha512`; `raw` takes exactly 64 bytes as they are
 * @throws {InputError} an unknown algorithm, or `raw` with another length
 */
export function appReportData(data: Uint8Array, algorithm: string): Uint8Array {
  if (algorithm === "raw") {
    if (data.length !== REPORT_DATA_BYTES) {
      throw new InputError(
        `report_data must be ${REPORT_DATA_BYTES} bytes when hash_algorithm is raw, got ${data.length}`,
      );
    }
    return data;
  }
  const hash = HASHES.get(algorithm === "" ? "sha512" : algorithm);
  if (hash === undefined) {
    throw new InputError(`unknown hash_algorithm; known are ${[...HASHES.keys(), "raw"].join(", ")}`);
  }
  return paddedReportData(hash(concatBytes(utf8("app-data:"), data)));
}

/**
 * Up to 64 bytes as they are, padded on the right with zeros.
 * @throws {InputError} more than 64 bytes
 */
export function paddedReportData(data: Uint8Array): Uint8Array {
  if (data.length > REPORT_DATA_BYTES) {
    throw new InputError(`report_data must be at most ${REPORT_DATA_BYTES} bytes, got ${data.length}`);
  }
  const padded = new Uint8Array(REPORT_DATA_BYTES);
  padded.set(data);
  return padded;
}
