import { DER, DerReader, InputError, oidText, timeSeconds } from "@dstack/core";
import { DNS_NAME_IN_PIECES } from "./names.js";

/** What a monitor wants to know of a certificate or precertificate. */
export interface IssuedCertificate {
  /** DER SubjectPublicKeyInfo, the very bytes. */
  readonly spki: Uint8Array;
  /** DNS names of the alternative names, and the common name. As they stand there: not lower-cased, not checked. */
  readonly names: readonly string[];
  /** DER of the issuer's name. */
  readonly issuer: Uint8Array;
  /** Organisation and common name of it, for people. */
  readonly issuerText: string;
  /** Content of the INTEGER. */
  readonly serial: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Carries the poison extension (RFC 6962 §3.1): a precertificate, which no client accepts. */
  readonly poison: boolean;
}

const SUBJECT_ALT_NAME = "2.5.29.17";
const POISON = "1.3.6.1.4.1.11129.2.4.3";
const COMMON_NAME = "2.5.4.3";
const ORGANISATION = "2.5.4.10";
const DNS_NAME = 0x82;
const BMP_STRING = 0x1e;
const UNIVERSAL_STRING = 0x1c;

/** CAs put at most a hundred names into a certificate, some CDNs some hundred more. */
const MAX_NAMES = 4096;
const MAX_EXTENSIONS = 64;

/**
 * Reads a certificate, or the TBSCertificate of a log's precertificate entry, without judging it: who signed it does not
 * matter, a log has taken it. Strict in form all the same, because a reader that guesses can be made to read other names
 * than a browser does; what is refused here a monitor must treat as if it could be anything.
 * @throws {InputError} not in the form of RFC 5280 §4.1
 */
export function readIssued(der: Uint8Array, kind: "x509" | "precert"): IssuedCertificate {
  const outer = new DerReader(der, "certificate");
  const whole = outer.next(DER.sequence).content;
  outer.end();
  if (kind === "precert") return readTbs(whole);
  const certificate = new DerReader(whole, "certificate");
  const tbs = certificate.next(DER.sequence).content;
  certificate.next(DER.sequence);
  certificate.next(DER.bitString);
  certificate.end();
  return readTbs(tbs);
}

const ISSUER_UNIQUE_ID = 0x81;
const SUBJECT_UNIQUE_ID = 0x82;

function readTbs(bytes: Uint8Array): IssuedCertificate {
  const tbs = new DerReader(bytes, "certificate");
  if (tbs.peek() === DER.context0) tbs.next();
  const serial = tbs.next(DER.integer).content;
  tbs.next(DER.sequence);
  const { whole: issuer, content: issuerName } = tbs.next(DER.sequence);
  const validity = new DerReader(tbs.next(DER.sequence).content, "certificate validity");
  const notBefore = timeSeconds(validity.next());
  const notAfter = timeSeconds(validity.next());
  validity.end();
  const subject = tbs.next(DER.sequence).content;
  const spki = tbs.next(DER.sequence).whole;
  for (const tag of [ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID]) if (tbs.peek() === tag) tbs.next();
  const extensions = tbs.atEnd
    ? { names: [], poison: false }
    : readExtensions(tbs.next(DER.context3).content);
  tbs.end();
  const names = [...extensions.names, ...commonNames(subject)];
  const issuerText = attributes(issuerName)
    .flatMap(({ oid, text }) => (oid === ORGANISATION || oid === COMMON_NAME ? [text] : []))
    .join(", ");
  return { spki, names, issuer, issuerText, serial, notBefore, notAfter, poison: extensions.poison };
}

function readExtensions(bytes: Uint8Array): { names: string[]; poison: boolean } {
  const wrapper = new DerReader(bytes, "certificate extensions");
  const list = new DerReader(wrapper.next(DER.sequence).content, "certificate extensions");
  wrapper.end();
  const names: string[] = [];
  let poison = false;
  for (let count = 0; !list.atEnd; count += 1) {
    if (count === MAX_EXTENSIONS) throw new InputError("certificate has too many extensions");
    const fields = new DerReader(list.next(DER.sequence).content, "certificate extension");
    const oid = oidText(fields.next(DER.oid).content);
    if (fields.peek() === DER.boolean) fields.next();
    const value = fields.next(DER.octetString).content;
    fields.end();
    if (oid === POISON) poison = true;
    // Of two, a client may read either: both count.
    if (oid === SUBJECT_ALT_NAME) names.push(...dnsNames(value));
  }
  return { names, poison };
}

function dnsNames(value: Uint8Array): string[] {
  const outer = new DerReader(value, "alternative names");
  const list = new DerReader(outer.next(DER.sequence).content, "alternative names");
  outer.end();
  const names: string[] = [];
  while (!list.atEnd) {
    const { tag, content } = list.next();
    // A string in pieces is no DER, and some clients put it together.
    if (tag === DNS_NAME_IN_PIECES) throw new InputError("certificate has a DNS name in pieces");
    if (tag !== DNS_NAME) continue;
    if (names.length === MAX_NAMES) throw new InputError("certificate has too many names");
    names.push(printable(content));
  }
  return names;
}

function commonNames(subject: Uint8Array): string[] {
  return attributes(subject).flatMap(({ oid, text }) => (oid === COMMON_NAME ? [text] : []));
}

/** The attributes of a name's content, in order. */
function attributes(name: Uint8Array): { oid: string; text: string }[] {
  const found: { oid: string; text: string }[] = [];
  const sets = new DerReader(name, "name");
  while (!sets.atEnd) {
    const set = new DerReader(sets.next(DER.set).content, "name");
    while (!set.atEnd) {
      const pair = new DerReader(set.next(DER.sequence).content, "name");
      const oid = oidText(pair.next(DER.oid).content);
      const { tag, content } = pair.next();
      if (found.length === MAX_NAMES) throw new InputError("certificate has too many names");
      // A person's or company's name is a common name too: whatever it is, it is no reason to refuse.
      found.push({ oid, text: nameText(tag, content) });
    }
  }
  return found;
}

/** ASCII in whatever type of string; what else is in it matters to nobody here. */
function nameText(tag: number, content: Uint8Array): string {
  const wide = tag === BMP_STRING || tag === UNIVERSAL_STRING;
  const letters = wide ? content.filter((byte) => byte !== 0) : content;
  // A zero ends a string for some readers.
  if (letters.includes(0)) throw new InputError("certificate has a name with a zero in it");
  return Buffer.from(letters).toString("latin1");
}

/** A DNS name holds no control characters, no spaces and nothing beyond ASCII (RFC 5280 §4.2.1.6). */
function printable(content: Uint8Array): string {
  if (content.some((byte) => byte <= 0x20 || byte >= 0x7f)) {
    throw new InputError("certificate has a DNS name of other characters than names have");
  }
  return Buffer.from(content).toString("latin1");
}
