import { fromHex, hex, sameBytes } from "@dstack/core";
import { KeyUsage } from "./certificate.js";
import type { Certificate } from "./certificate.js";
import { DerReader } from "./der.js";
import { QuoteError } from "./errors.js";
import { isSignedBy, readAlgorithm, readExtensions, readSigned } from "./signed-der.js";
import type { SignedDer } from "./signed-der.js";

/** Longest revocation list we read, in bytes: some 20,000 entries. Intel's had about 60 in 2026. */
export const MAX_CRL_BYTES = 1024 * 1024;

const OID_CRL_NUMBER = "551d14";
/** RFC 5280 §5.2.3. */
const MAX_NUMBER_BYTES = 20;

/** A revocation list taken apart. */
export interface Crl extends SignedDer {
  readonly issuer: Uint8Array;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Grows with each list of an issuer that counts its lists; Intel numbers all of them 1. */
  readonly number: bigint | undefined;
  /** Serial numbers, hex of the shortest big-endian form. */
  readonly revoked: ReadonlySet<string>;
}

/**
 * Reads a complete list that its issuer signed (RFC 5280 §5). Delta, indirect and partial lists carry critical
 * extensions and are refused for that.
 * @param text lower-case hex of the DER
 * @throws {QuoteError} `certificate_malformed`, `crl_invalid`
 */
export function readCrl(text: string, issuer: Certificate, what: string): Crl {
  if (text.length > 2 * MAX_CRL_BYTES || text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) {
    throw new QuoteError(
      "certificate_malformed",
      `reading ${what}: it is not at most ${MAX_CRL_BYTES} bytes of hex`,
    );
  }
  const crl = readCrlDer(fromHex(text, what), what);
  if (!sameBytes(crl.issuer, issuer.subject)) throw invalid(`${what} was issued by another CA`);
  if ((issuer.keyUsage & KeyUsage.crlSign) === 0) throw invalid(`${what}: its issuer must not sign lists`);
  if (!isSignedBy(crl, issuer.publicKey)) throw invalid(`${what} is not signed by its issuer`);
  return crl;
}

/** @throws {QuoteError} `certificate_revoked` */
export function requireNotRevoked(certificate: Certificate, crl: Crl, what: string): void {
  if (crl.revoked.has(certificate.serial)) {
    throw new QuoteError("certificate_revoked", `the ${what} certificate is revoked`, {
      serial: certificate.serial,
    });
  }
}

function readCrlDer(der: Uint8Array, what: string): Crl {
  const { signedBytes, signature, content } = readSigned(der, what);
  if (content.smallInteger(1) !== 1) throw content.error("it is not of version 2");
  readAlgorithm(content);
  const issuer = content.element("sequence");
  const thisUpdate = content.time();
  const nextUpdate = content.time();
  const revoked = content.at("sequence") ? readEntries(content.open("sequence")) : new Set<string>();
  const wrapped = content.open("explicit0");
  const number = readNumber(readExtensions(wrapped.open("sequence"), []).get(OID_CRL_NUMBER), what);
  wrapped.expectEnd();
  content.expectEnd();
  return { signedBytes, signature, issuer, thisUpdate, nextUpdate, number, revoked };
}

function readNumber(value: Uint8Array | undefined, what: string): bigint | undefined {
  if (value === undefined) return undefined;
  const reader = new DerReader(value, what);
  const bytes = reader.unsigned();
  reader.expectEnd();
  if (bytes.length > MAX_NUMBER_BYTES) throw reader.error("its number is too long");
  return BigInt(`0x${hex(bytes)}`);
}

function readEntries(list: DerReader): Set<string> {
  const serials = new Set<string>();
  while (!list.done) {
    const entry = list.open("sequence");
    serials.add(hex(entry.unsigned()));
    entry.time();
    if (!entry.done) readExtensions(entry.open("sequence"), []);
    entry.expectEnd();
  }
  return serials;
}

function invalid(message: string): QuoteError {
  return new QuoteError("crl_invalid", message);
}
