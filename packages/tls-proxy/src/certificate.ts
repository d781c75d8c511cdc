import { X509Certificate, createPrivateKey } from "node:crypto";
import { createSecureContext } from "node:tls";
import { CodedError, errorMessage } from "@dstack/core";
import { parseServerName } from "./server-name.js";
import type { ServerName } from "./server-name.js";

/** Why a certificate is not taken into use. */
export class CertificateError extends CodedError<
  "unreadable" | "key_mismatch" | "out_of_date" | "wrong_names" | "unusable"
> {
  override name = "CertificateError";
}

const seal: unique symbol = Symbol("made by checkCertificate");

/** A chain and its key that fit together, in date, and good for names we serve when they were checked. */
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
    /** What it names of the base domains, lower case: `*.<base domain>`, or a name of one label more. At least one. */
    readonly names: readonly string[],
  ) {
    if (token !== this.#made) throw new TypeError("a CheckedCertificate comes from checkCertificate only");
  }
}

export interface CertificateToCheck {
  /** Leaf first, then its issuers. */
  readonly certPem: string;
  readonly keyPem: string;
  /** The leaf must be good for names of one label under at least one of these. Lower case. */
  readonly baseDomains: readonly string[];
  readonly now: Date;
}

/**
 * Checks what stands in front of taking a certificate into use: it parses, the key is its key, every certificate of
 * the chain is in date, each is issued by the next, it names something under a base domain, and TLS can be ended with it.
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
  const names = servedNames(leaf, input.baseDomains);
  if (names.length === 0) {
    const wanted = input.baseDomains.map((domain) => `*.${domain}`).join(" or ");
    throw new CertificateError("wrong_names", `checking the certificate: it does not name ${wanted}`, {
      names: leaf.subjectAltName,
    });
  }
  checkUsable(input);
  return new CheckedCertificate(
    seal,
    input.certPem,
    input.keyPem,
    Math.min(...chain.map((certificate) => Date.parse(certificate.validTo))),
    new Uint8Array(leaf.publicKey.export({ format: "der", type: "spki" })),
    names,
  );
}

/**
 * Checks that every app has a certificate, under each of the base domains.
 * @throws {CertificateError} no certificate names the wildcard of one
 */
export function checkCoverage(
  certificates: readonly CheckedCertificate[],
  baseDomains: readonly string[],
): void {
  for (const domain of baseDomains) {
    if (certificates.some(({ names }) => names.includes(`*.${domain}`))) continue;
    throw new CertificateError("wrong_names", `checking the certificates: none names *.${domain}`, {
      names: certificates.flatMap(({ names }) => names),
    });
  }
}

/** By the names they are served under. Of two that have the same name, the first one has it. */
export function certificatesByName(
  certificates: readonly CheckedCertificate[],
): ReadonlyMap<string, CheckedCertificate> {
  const byName = new Map<string, CheckedCertificate>();
  for (const certificate of certificates) {
    for (const name of certificate.names) if (!byName.has(name)) byName.set(name, certificate);
  }
  return byName;
}

/** What is there for this name: its own, else its parent's wildcard, which stands for one whole label (RFC 9525 §6.3). */
export function forServerName<T>(byName: ReadonlyMap<string, T>, name: ServerName): T | undefined {
  return byName.get(name) ?? byName.get(`*${name.slice(name.indexOf("."))}`);
}

/** What OpenSSL says the leaf is good for, of all that is served here; its common name does not count. */
function servedNames(leaf: X509Certificate, baseDomains: readonly string[]): string[] {
  const wildcards = baseDomains
    .filter((domain) => {
      const sample = `${"0".repeat(40)}.${domain}`;
      return leaf.checkHost(sample, { subject: "never", partialWildcards: false }) !== undefined;
    })
    .map((domain) => `*.${domain}`);
  // Anything unusual stands in quotation marks, its commas escaped.
  const exact = (leaf.subjectAltName ?? "")
    .split(", ")
    .map((entry) => parseServerName(/^DNS:(.+)$/.exec(entry)?.[1] ?? ""))
    .filter((name) => name !== undefined)
    .filter((name) => baseDomains.includes(name.slice(name.indexOf(".") + 1)))
    .filter((name) => leaf.checkHost(name, { subject: "never", wildcards: false }) !== undefined);
  return [...new Set([...wildcards, ...exact])];
}

/** A key can be the certificate's and still be too short for TLS. */
function checkUsable({ certPem, keyPem }: CertificateToCheck): void {
  try {
    createSecureContext({ cert: certPem, key: keyPem });
  } catch (err) {
    throw new CertificateError(
      "unusable",
      `checking the certificate: TLS does not take it: ${errorMessage(err)}`,
    );
  }
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
