import { sameBytes } from "@dstack/core";
import { KeyUsage, readCertificate } from "./certificate.js";
import type { Certificate } from "./certificate.js";
import { QuoteError } from "./errors.js";
import { decodePem } from "./pem.js";
import type { Tuple } from "./pem.js";
import { isSignedBy } from "./signed-der.js";

/** What a certificate is for. Intel says it in the common name only. */
export type Role = "root" | "pck-ca" | "pck" | "tcb-signer";

const ROLE_NAMES: Record<Role, readonly string[]> = {
  root: ["SGX Root CA"],
  "pck-ca": ["SGX PCK Platform CA", "SGX PCK Processor CA"],
  pck: ["SGX PCK Certificate"],
  "tcb-signer": ["SGX TCB Signing"],
};
const CA_ROLES: ReadonlySet<Role> = new Set(["root", "pck-ca"]);

/**
 * Reads a chain that consists of exactly these roles, leaf first and root last, and verifies that each certificate is
 * what its role says and was issued by the next. Left to the caller: that the root is trusted, dates, revocation.
 * A key of one role can do nothing in another: with a stolen PCK key nobody issues a PCK or signs TCB info.
 * @param knownRoot the root of another chain read before: where these very bytes stand again, its own signature is not
 * verified again
 * @throws {QuoteError} `certificate_malformed`, `chain_invalid`
 */
export function readChain<N extends 2 | 3>(
  pem: string,
  roles: Tuple<Role, N> & readonly Role[],
  what: string,
  knownRoot?: Certificate,
): Tuple<Certificate, N> {
  const last = roles.length - 1;
  const chain = decodePem(pem, roles.length as N, what).map((der, index) =>
    knownRoot !== undefined && index === last && sameBytes(der, knownRoot.der)
      ? knownRoot
      : readCertificate(der, what),
  );
  chain.forEach((certificate, index) => {
    if (certificate === knownRoot) return;
    const role = roles[index];
    const issuerIndex = Math.min(index + 1, last); // the root issued itself
    const issuer = chain[issuerIndex];
    if (role === undefined || issuer === undefined) throw invalid(what, "it is incomplete");
    requireRole(certificate, role, what);
    requireIssuedBy(certificate, issuer, issuerIndex - 1, what);
  });
  return chain as Tuple<Certificate, N>;
}

function requireRole(certificate: Certificate, role: Role, what: string): void {
  const { commonName, isCa, keyUsage } = certificate;
  if (!ROLE_NAMES[role].some((name) => commonName.includes(name))) {
    throw invalid(what, `"${commonName}" stands where ${ROLE_NAMES[role].join(" or ")} must stand`);
  }
  if (isCa !== CA_ROLES.has(role)) throw invalid(what, `"${commonName}" is ${isCa ? "a" : "no"} CA`);
  const usage = isCa ? KeyUsage.keyCertSign : KeyUsage.digitalSignature;
  if ((keyUsage & usage) === 0) throw invalid(what, `"${commonName}" lacks the key usage of its role`);
}

/** @param casBelow CA certificates between the issuer and the leaf */
function requireIssuedBy(
  certificate: Certificate,
  issuer: Certificate,
  casBelow: number,
  what: string,
): void {
  const { commonName } = certificate;
  if (!sameBytes(certificate.issuer, issuer.subject)) {
    throw invalid(what, `"${commonName}" names another issuer than "${issuer.commonName}"`);
  }
  if (!isSignedBy(certificate, issuer.publicKey)) {
    throw invalid(what, `"${commonName}" is not signed by "${issuer.commonName}"`);
  }
  if (issuer.pathLength !== undefined && casBelow > issuer.pathLength) {
    throw invalid(what, `"${issuer.commonName}" allows no chain of this length`);
  }
}

function invalid(what: string, message: string): QuoteError {
  return new QuoteError("chain_invalid", `verifying ${what}: ${message}`);
}
