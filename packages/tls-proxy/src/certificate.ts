import { X509Certificate, createPrivateKey } from "node:crypto";
import { CodedError, errorMessage } from "@dstack/core";

/** Why a certificate is not taken into use. */
export class CertificateError extends CodedError<
  "unreadable" | "key_mismatch" | "out_of_date" | "wrong_names"
> {
  override name = "CertificateError";
}

const seal: unique symbol = Symbol("made by checkCertificate");

/** A chain and its key that fit together, in date, and good for every name we serve when they were checked. */
export class CheckedCertificate {
  readonly #made = seal;

  constructor(
    token: typeof seal,
    readonly certPem: string,
    readonly keyPem: string,
    /** Unix milliseconds at which the first certificate of the chain runs out. */
    readonly notAfterMs: number,
    /** DER SubjectPublicKeyInfo of the leaf. */
    readonly spkiDer: Uint8Array,
  ) {
    if (token !== this.#made) throw new TypeError("a CheckedCertificate comes from checkCertificate only");
  }
}

export interface CertificateToCheck {
  /** Leaf first, then its issuers. */
  readonly certPem: string;
  readonly keyPem: string;
  /** The leaf must be good for one label under each of these. */
  readonly baseDomains: readonly string[];
  readonly now: Date;
}

/**
 * Checks what stands in front of taking a certificate into use: it parses, the key is its key, every certificate of
 * the chain is in date, each is issued by the next, and it names `*.<base domain>`.
 * @throws {CertificateError}
 */
export function checkCertificate(input: CertificateToCheck): CheckedCertificate {
  const chain = parseChain(input.certPem);
  const leaf = chain[0];
  if (leaf === undefined)
    throw new CertificateError("unreadable", "reading the certificate: the file holds none");
  if (!keyOf(input.keyPem, leaf)) {
    throw new CertificateError(
      "key_mismatch",
      "checking the certificate: the private key belongs to another one",
    );
  }
  for (const [index, certificate] of chain.entries()) {
    const [from, until] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
    if (!(from <= input.now.getTime() && input.now.getTime() < until)) {
      throw new CertificateError(
        "out_of_date",
        `checking the certificate: ${oneLine(certificate.subject)} is valid from ${certificate.validFrom} to ${certificate.validTo}`,
      );
    }
    const issuer = chain[index + 1];
    if (issuer !== undefined && !certificate.checkIssued(issuer)) {
      throw new CertificateError(
        "unreadable",
        "checking the certificate: the chain is not in order, leaf first",
      );
    }
  }
  for (const domain of input.baseDomains) {
    const sample = `${"0".repeat(40)}.${domain}`;
    if (leaf.checkHost(sample, { subject: "never", partialWildcards: false }) === undefined) {
      throw new CertificateError("wrong_names", `checking the certificate: it does not name *.${domain}`, {
        names: leaf.subjectAltName,
      });
    }
  }
  return new CheckedCertificate(
    seal,
    input.certPem,
    input.keyPem,
    Math.min(...chain.map((certificate) => Date.parse(certificate.validTo))),
    new Uint8Array(leaf.publicKey.export({ format: "der", type: "spki" })),
  );
}

function parseChain(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  try {
    return blocks.map((block) => new X509Certificate(block));
  } catch (err) {
    throw new CertificateError("unreadable", `reading the certificate: ${errorMessage(err)}`);
  }
}

function keyOf(pem: string, leaf: X509Certificate): boolean {
  try {
    return leaf.checkPrivateKey(createPrivateKey(pem));
  } catch (err) {
    throw new CertificateError("unreadable", `reading the private key: ${errorMessage(err)}`);
  }
}

function oneLine(subject: string | undefined): string {
  return (subject ?? "certificate without subject").replaceAll("\n", ", ");
}
