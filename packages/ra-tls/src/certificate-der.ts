import { DER, DerReader, InputError, oidText, timeSeconds } from "@dstack/core";

/**
 * Longest certificate we make or read. OpenSSL's limit for a peer's certificate message is about 100 KiB; a boot's
 * event log takes about 10.
 */
export const MAX_CERTIFICATE_BYTES = 64 * 1024;

const MAX_EXTENSIONS = 32;

export interface CertificateExtension {
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** The parts of a certificate that verification of a peer looks at, taken from its DER and not re-encoded. */
export interface CertificateParts {
  /** SubjectPublicKeyInfo, the very bytes in the certificate. */
  readonly spki: Uint8Array;
  /** Unix seconds. */
  readonly notBefore: number;
  /** Unix seconds. */
  readonly notAfter: number;
  /** By dotted OID. */
  readonly extensions: ReadonlyMap<string, CertificateExtension>;
}

/**
 * Reads an X.509 v3 certificate (RFC 5280 §4.1). Its signature is not checked here: who signed an RA-TLS
 * certificate proves nothing, the quote does.
 * @throws {InputError} too long, malformed, trailing bytes, or an extension that appears twice
 */
export function readCertificateDer(der: Uint8Array): CertificateParts {
  if (der.length > MAX_CERTIFICATE_BYTES) {
    throw new InputError(`certificate is larger than ${MAX_CERTIFICATE_BYTES} bytes`);
  }
  const outer = new DerReader(der, "certificate");
  const certificate = new DerReader(outer.next(DER.sequence).content, "certificate");
  outer.end();
  const tbs = new DerReader(certificate.next(DER.sequence).content, "certificate");
  certificate.next(DER.sequence); // signature algorithm
  certificate.next(DER.bitString);
  certificate.end();

  const version = new DerReader(tbs.next(DER.context0).content, "certificate version");
  const versionNumber = version.next(DER.integer).content;
  version.end();
  if (versionNumber.length !== 1 || versionNumber[0] !== 2)
    throw new InputError("certificate is not X.509 version 3");
  tbs.next(DER.integer); // serial number
  tbs.next(DER.sequence); // signature algorithm
  tbs.next(DER.sequence); // issuer
  const validity = new DerReader(tbs.next(DER.sequence).content, "certificate validity");
  const notBefore = timeSeconds(validity.next());
  const notAfter = timeSeconds(validity.next());
  validity.end();
  tbs.next(DER.sequence); // subject
  const spki = tbs.next(DER.sequence).whole;
  const extensions = tbs.atEnd
    ? new Map<string, CertificateExtension>()
    : readExtensions(tbs.next(DER.context3).content);
  tbs.end();
  return { spki, notBefore, notAfter, extensions };
}

function readExtensions(bytes: Uint8Array): Map<string, CertificateExtension> {
  const wrapper = new DerReader(bytes, "certificate extensions");
  const list = new DerReader(wrapper.next(DER.sequence).content, "certificate extensions");
  wrapper.end();
  const extensions = new Map<string, CertificateExtension>();
  while (!list.atEnd) {
    if (extensions.size === MAX_EXTENSIONS) throw new InputError("certificate has too many extensions");
    const fields = new DerReader(list.next(DER.sequence).content, "certificate extension");
    const oid = oidText(fields.next(DER.oid).content);
    const critical = fields.peek() === DER.boolean && fields.next(DER.boolean).content[0] !== 0;
    const value = fields.next(DER.octetString).content;
    fields.end();
    // The second one would be read by whoever looks from the other end.
    if (extensions.has(oid)) throw new InputError(`certificate extension ${oid} appears more than once`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}
