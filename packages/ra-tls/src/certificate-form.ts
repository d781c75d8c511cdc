import { failed, group, passed } from "@dstack/attestation";
import type { CheckNode } from "@dstack/attestation";
import { errorMessage } from "@dstack/core";
import { CLOCK_SKEW_MS } from "./certificate-authority.js";
import type { CertificateParts } from "./certificate-der.js";
import { parseP256Spki } from "./p256.js";

/** Longest validity an RA-TLS certificate may have, in seconds. Evidence ages: the platform may be revoked. */
const MAX_VALIDITY_S = 10 * 86_400;

/** Critical extensions we understand; RFC 5280 §4.2 wants any other critical one refused. */
const KNOWN_CRITICAL = new Set(["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"]);

const SKEW_S = CLOCK_SKEW_MS / 1000;

type FormNode = CheckNode<"certificate_invalid">;

/** What an RA-TLS certificate must keep to besides its evidence, each rule with what came of it. */
export function evaluateForm(certificate: CertificateParts, now: number): FormNode {
  return group("RA-TLS certificate", [
    checkDates(certificate, now),
    checkLifetime(certificate),
    checkCritical(certificate),
    checkKey(certificate),
  ]);
}

function checkDates({ notBefore, notAfter }: CertificateParts, now: number): FormNode {
  const check = "validity";
  if (notBefore > now + SKEW_S) return refuse(check, `is not valid yet: from ${iso(notBefore)}`);
  if (notAfter < now) return refuse(check, `has expired: ${iso(notAfter)}`);
  return passed(check, `${iso(notBefore)} to ${iso(notAfter)}`);
}

function checkLifetime({ notBefore, notAfter }: CertificateParts): FormNode {
  const check = "lifetime";
  if (notAfter - notBefore > MAX_VALIDITY_S + SKEW_S) return refuse(check, "is valid for more than 10 days");
  return passed(check, "at most 10 days");
}

function checkCritical({ extensions }: CertificateParts): FormNode {
  const check = "critical extensions";
  const unknown = [...extensions].find(([oid, { critical }]) => critical && !KNOWN_CRITICAL.has(oid));
  if (unknown !== undefined) return refuse(check, `has the unknown critical extension ${unknown[0]}`);
  return passed(check, "none that is not understood");
}

function checkKey({ spki }: CertificateParts): FormNode {
  const check = "key";
  try {
    parseP256Spki(spki);
  } catch (err) {
    return refuse(check, `has a key we do not accept: ${errorMessage(err)}`);
  }
  return passed(check, "on P-256");
}

function refuse(check: string, why: string): FormNode {
  return failed(check, "certificate_invalid", `RA-TLS certificate ${why}`);
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
