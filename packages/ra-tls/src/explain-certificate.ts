import { failed, raTlsReportData } from "@dstack/attestation";
import type { CheckNode } from "@dstack/attestation";
import { InputError } from "@dstack/core";
import { readCertificateDer } from "./certificate-der.js";
import { evaluateForm } from "./certificate-form.js";
import { evidenceOf } from "./read-evidence.js";
import type { CertificateEvidence } from "./read-evidence.js";

export interface ExplainedCertificate {
  /** The checks of its form that {@link PeerVerifier.verifyPeer} makes. */
  readonly form: CheckNode;
  /** Absent in an ordinary certificate. Not verified. */
  readonly evidence?: CertificateEvidence;
  /** The 64 bytes the quote must be over, so that it speaks of this certificate's key (E4). */
  readonly reportData?: Uint8Array;
}

/**
 * What an RA-TLS certificate says and whether its form is right, for people: `explain` of `@dstack/attestation` does
 * the rest. Malformed certificates are told in the tree.
 * @param now Unix seconds
 */
export function explainCertificate(certDer: Uint8Array, now: number): ExplainedCertificate {
  try {
    const certificate = readCertificateDer(certDer);
    const evidence = evidenceOf(certificate);
    return {
      form: evaluateForm(certificate, now),
      reportData: raTlsReportData(certificate.spki),
      ...(evidence === undefined ? {} : { evidence }),
    };
  } catch (err) {
    if (!(err instanceof InputError)) throw err;
    return { form: failed("RA-TLS certificate", "certificate_invalid", err.message) };
  }
}
