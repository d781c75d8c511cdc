import type { KeyObject } from "node:crypto";
import { raTlsReportData } from "@dstack/attestation";
import { InputError, fromHex, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { octetString, pemToDer, selfSign } from "./certificate-authority.js";
import type { CertificateAuthority, CertificateUsage } from "./certificate-authority.js";
import { MAX_CERTIFICATE_BYTES } from "./certificate-der.js";
import { OID_APP_ID, OID_EVENT_LOG, OID_QUOTE } from "./oids.js";
import { loadP256 } from "./p256.js";

/** Lifetime of a boot certificate: 24 hours ahead of use. */
export const BOOT_CERTIFICATE_MS = 24 * 3_600_000;

/** The part of a quote provider that is needed here. */
export interface QuoteSource {
  /** @param reportData 64 bytes */
  getQuote(reportData: Uint8Array, signal?: AbortSignal): Promise<Uint8Array>;
}

export interface RaTlsCertificateRequest {
  /** P-256 private key the certificate is for. */
  readonly key: KeyObject;
  readonly provider: QuoteSource;
  /** JSON array text of the event log that replays to the quote's registers. */
  readonly eventLog: string;
  readonly commonName: string;
  readonly altNames?: readonly string[];
  readonly appId?: AppId;
  /** Signs the certificate; without it the certificate signs itself. Either way the quote is what identifies. */
  readonly issuer?: CertificateAuthority;
  /** Beginning of validity; five minutes ago by default. */
  readonly notBefore?: Date;
  /** End of validity, Unix milliseconds; 24 hours from now by default. Verifiers refuse more than 10 days. */
  readonly notAfterMs?: number;
  readonly usages?: readonly CertificateUsage[];
  readonly signal?: AbortSignal;
}

/**
 * Makes a certificate that carries a quote over its own key (docs/attestation.md, RA-TLS).
 * `chainPem` is the certificate followed by its issuer's chain.
 * @throws {InputError} key not P-256, or the result larger than peers accept (64 KiB)
 */
export async function createRaTlsCertificate(
  request: RaTlsCertificateRequest,
): Promise<{ certPem: string; chainPem: string }> {
  const pair = loadP256(request.key);
  const quote = await request.provider.getQuote(raTlsReportData(pair.publicKeySpki), request.signal);
  const extensions = [
    { oid: OID_QUOTE, value: octetString(quote) },
    { oid: OID_EVENT_LOG, value: octetString(utf8(request.eventLog)) },
  ];
  if (request.appId !== undefined) extensions.push(appIdExtension(request.appId));
  const fields = {
    commonName: request.commonName,
    altNames: request.altNames ?? [],
    usages: request.usages ?? (["clientAuth", "serverAuth"] as const),
    extensions,
    ...(request.notBefore === undefined ? {} : { notBefore: request.notBefore }),
    notAfter: new Date(request.notAfterMs ?? Date.now() + BOOT_CERTIFICATE_MS),
  };
  const certPem =
    request.issuer === undefined
      ? await selfSign(pair.privateKey, fields)
      : await request.issuer.issue({ ...fields, publicKey: pair.publicKey });
  const size = pemToDer(certPem).length;
  if (size > MAX_CERTIFICATE_BYTES) {
    throw new InputError(
      `RA-TLS certificate of ${size} bytes is larger than the ${MAX_CERTIFICATE_BYTES} peers accept`,
    );
  }
  return { certPem, chainPem: [certPem, ...(request.issuer?.chain ?? [])].join("") };
}

/** The extension that names the app a KMS issued a certificate for. */
export function appIdExtension(appId: AppId): { oid: string; value: Uint8Array } {
  return { oid: OID_APP_ID, value: octetString(fromHex(appId, "app id", 20)) };
}
