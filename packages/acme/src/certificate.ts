import { X509Certificate, createPrivateKey } from "node:crypto";
import { CertificateError } from "./errors.js";

/** What is needed of a certificate to decide about it. */
export interface CertificateFacts {
  names: string[];
  issuer: string;
  notBefore: Date;
  notAfter: Date;
  /** DER of the public key: what tproxy and ct-monitor know it by. */
  spki: Buffer;
}

/** @param pem a chain, leaf first @throws {CertificateError} `unreadable` */
export function readCertificate(pem: string): CertificateFacts {
  try {
    const leaf = new X509Certificate(pem);
    const names = (leaf.subjectAltName ?? "").split(", ").filter((name) => name.startsWith("DNS:"));
    return {
      names: names.map((name) => name.slice("DNS:".length).toLowerCase()).toSorted(),
      issuer: /^CN=(.*)$/m.exec(leaf.issuer)?.[1] ?? leaf.issuer,
      notBefore: new Date(leaf.validFrom),
      notAfter: new Date(leaf.validTo),
      spki: leaf.publicKey.export({ type: "spki", format: "der" }),
    };
  } catch (err) {
    throw new CertificateError("unreadable", "the certificate cannot be read", {}, { cause: err });
  }
}

/** Whether a certificate is for exactly these names, in any order. */
export function isForNames(facts: CertificateFacts, names: readonly string[]): boolean {
  return facts.names.join() === [...names].toSorted().join();
}

/**
 * Refuses to install what would not serve: a certificate of another key, without one of our names, or expired. One
 * that is not valid yet passes: then it is our clock that is behind, and the CA does not give a second one for that.
 * @throws {CertificateError}
 */
export function checkCertificate(
  chainPem: string,
  keyPem: string,
  names: readonly string[],
  now: number,
): void {
  const facts = readCertificate(chainPem);
  if (!new X509Certificate(chainPem).checkPrivateKey(createPrivateKey(keyPem))) {
    throw new CertificateError("wrong_key", "the CA's certificate is for another key than was asked for");
  }
  if (!isForNames(facts, names)) {
    const [got, asked] = [facts.names.join(", "), names.join(", ")];
    throw new CertificateError("wrong_names", `the CA's certificate is for ${got}, asked for was ${asked}`);
  }
  if (facts.notAfter.getTime() <= now) {
    const end = facts.notAfter.toISOString();
    throw new CertificateError(
      "expired",
      `the CA's new certificate has expired on ${end}: check this machine's clock`,
    );
  }
}
