import { failed, group, notChecked } from "@dstack/attestation";
import type { CheckNode } from "@dstack/attestation";
import { explainCertificate, pemToDer, splitPem } from "@dstack/ra-tls";
import { InputError } from "@dstack/core";
import { withoutEvidence } from "./presented.js";
import type { Presented } from "./presented.js";

/** The first certificate of a file, PEM or DER; undefined when it holds none. */
export function certificateIn(file: Uint8Array): Uint8Array | undefined {
  // A SEQUENCE of more than 255 bytes, as DER begins.
  if (file[0] === 0x30 && file[1] === 0x82) return file;
  const text = Buffer.from(file).toString("latin1");
  if (!text.includes("-----BEGIN CERTIFICATE-----")) return undefined;
  const [leaf] = splitPem(text);
  if (leaf === undefined) throw new InputError("its PEM holds no whole certificate");
  return pemToDer(leaf);
}

/** A certificate that was kept in a file. That its key is used by whom it speaks of, only a TLS handshake shows. */
export function presentedCertificate(der: Uint8Array, now: number): Presented {
  const handshake = notChecked(
    "TLS key",
    "a file shows no handshake: whoever presents this certificate must also prove that the key is theirs",
  );
  return presentedByKey(
    "certificate",
    [handshake],
    der,
    now,
    "the certificate carries no quote: it is an ordinary one",
  );
}

/** Evidence in a certificate, bound to the certificate's key (E4). */
export function presentedByKey(
  subject: Presented["subject"],
  checks: readonly CheckNode[],
  der: Uint8Array,
  now: number,
  ordinary: string,
): Presented {
  const { form, evidence, reportData } = explainCertificate(der, now);
  if (evidence === undefined || reportData === undefined) {
    // The rules of RA-TLS are none for a certificate that claims nothing.
    const malformed = reportData === undefined ? [form] : [];
    return withoutEvidence(subject, [...checks, ...malformed], ordinary);
  }
  return {
    subject,
    checks: [...checks, form],
    quote: evidence.quote,
    eventLog: evidence.eventLog,
    reportData,
    ...(evidence.appId === undefined ? {} : { certificateAppId: evidence.appId }),
    fromApp: false,
  };
}

/** A server that was caught with a certificate whose key it does not hold. */
export function withoutKey(detail: string): Presented {
  const tls = group("TLS", [failed("key of the handshake", "key_not_held", detail)]);
  return withoutEvidence("endpoint", [tls], "not reached");
}
