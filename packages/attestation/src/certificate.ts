import type { KeyObject } from "node:crypto";
import { hex } from "@dstack/core";
import { DerReader } from "./der.js";
import { p256FromSpki } from "./p256.js";
import { readAlgorithm, readExtensions, readSigned } from "./signed-der.js";
import type { SignedDer } from "./signed-der.js";

const OID_COMMON_NAME = "550403";
const OID_KEY_USAGE = "551d0f";
const OID_BASIC_CONSTRAINTS = "551d13";
const OID_SGX = "2a864886f84d010d01";
const MAX_SERIAL_BYTES = 20;

/** Bits of the first byte of the key usage extension (RFC 5280 §4.2.1.3). */
export const KeyUsage = { digitalSignature: 0x80, keyCertSign: 0x04, crlSign: 0x02 } as const;

/** A certificate taken apart. Its signature is not verified. */
export interface Certificate extends SignedDer {
  readonly der: Uint8Array;
  /** Hex of the shortest big-endian form. */
  readonly serial: string;
  /** The encoded names, to be compared byte by byte. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** The subject's common name. */
  readonly commonName: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly spki: Uint8Array;
  readonly publicKey: KeyObject;
  readonly isCa: boolean;
  /** Most CA certificates that may follow below; undefined: no limit. */
  readonly pathLength: number | undefined;
  readonly keyUsage: number;
  /** The SGX extensions of a PCK certificate (1.2.840.113741.1.13.1). */
  readonly sgxExtension: Uint8Array | undefined;
}

/**
 * Reads a certificate of the one kind Intel issues for SGX: X.509 v3, P-256, ecdsa-with-SHA256 (RFC 5280 §4).
 * @throws {QuoteError} `certificate_malformed`
 */
export function readCertificate(der: Uint8Array, what: string): Certificate {
  const { signedBytes, signature, content } = readSigned(der, what);
  const version = content.open("explicit0");
  if (version.smallInteger(2) !== 2) throw content.error("it is not of version 3");
  version.expectEnd();
  const serial = content.unsigned();
  if (serial.length > MAX_SERIAL_BYTES) throw content.error("its serial number is too long");
  readAlgorithm(content);
  const issuer = content.element("sequence");
  const validity = content.open("sequence");
  const notBefore = validity.time();
  const notAfter = validity.time();
  validity.expectEnd();
  const subject = content.element("sequence");
  const spki = content.element("sequence");
  const publicKey = p256FromSpki(spki);
  if (publicKey === undefined) throw content.error("its key is not on P-256");
  const wrapped = content.open("explicit3");
  const extensions = readExtensions(wrapped.open("sequence"), [OID_KEY_USAGE, OID_BASIC_CONSTRAINTS]);
  wrapped.expectEnd();
  content.expectEnd();
  return {
    der,
    signedBytes,
    signature,
    serial: hex(serial),
    issuer,
    subject,
    commonName: readCommonName(subject, what),
    notBefore,
    notAfter,
    spki,
    publicKey,
    ...readBasicConstraints(extensions.get(OID_BASIC_CONSTRAINTS), what),
    keyUsage: readKeyUsage(extensions.get(OID_KEY_USAGE), what),
    sgxExtension: extensions.get(OID_SGX),
  };
}

/** The only common name of a Name, in one of the two string types Intel uses. */
function readCommonName(name: Uint8Array, what: string): string {
  const parts = new DerReader(name, what).open("sequence");
  let commonName: string | undefined;
  while (!parts.done) {
    const set = parts.open("set");
    const attribute = set.open("sequence");
    set.expectEnd();
    const isCommonName = attribute.oid() === OID_COMMON_NAME;
    const text = attribute.content(attribute.at("utf8String") ? "utf8String" : "printableString");
    attribute.expectEnd();
    if (!isCommonName) continue;
    if (commonName !== undefined) throw parts.error("its subject has two common names");
    commonName = Buffer.from(text).toString("latin1");
  }
  if (commonName === undefined) throw parts.error("its subject has no common name");
  return commonName;
}

function readBasicConstraints(
  value: Uint8Array | undefined,
  what: string,
): Pick<Certificate, "isCa" | "pathLength"> {
  if (value === undefined) return { isCa: false, pathLength: undefined };
  const outer = new DerReader(value, what);
  const fields = outer.open("sequence");
  outer.expectEnd();
  const isCa = fields.defaultFalse();
  const pathLength = isCa && fields.at("integer") ? fields.smallInteger(255) : undefined;
  fields.expectEnd();
  return { isCa, pathLength };
}

/** The first byte of the bits; 0 when the extension is absent, which allows nothing. */
function readKeyUsage(value: Uint8Array | undefined, what: string): number {
  if (value === undefined) return 0;
  const reader = new DerReader(value, what);
  const [unused = 8, bits = 0, decipherOnly = 0] = reader.content("bitString");
  reader.expectEnd();
  if (unused > 7 || decipherOnly !== 0) throw reader.error("its key usage is malformed");
  return bits;
}
