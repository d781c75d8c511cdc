import { DER, DerReader, InputError, hex, parseAppId } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { readCertificateDer } from "./certificate-der.js";
import type { CertificateParts } from "./certificate-der.js";
import { OID_APP_ID, OID_EVENT_LOG, OID_QUOTE } from "./oids.js";

/** What an RA-TLS certificate carries. Nothing of it is verified yet. */
export interface CertificateEvidence {
  readonly quote: Uint8Array;
  /** JSON array text, as the peer wrote it. */
  readonly eventLog: string;
  /** Only meaningful in a certificate that a trusted KMS signed; of a peer it is a claim. */
  readonly appId?: AppId;
}

function payload(parts: CertificateParts, oid: string, what: string): Uint8Array | undefined {
  const extension = parts.extensions.get(oid);
  if (extension === undefined) return undefined;
  const reader = new DerReader(extension.value, `certificate extension ${what}`);
  const { content } = reader.next(DER.octetString);
  reader.end();
  return content;
}

/** The app id extension of a certificate, if it has one. @throws {InputError} malformed */
export function readAppIdExtension(parts: CertificateParts): AppId | undefined {
  const bytes = payload(parts, OID_APP_ID, "app id");
  return bytes === undefined ? undefined : parseAppId(hex(bytes));
}

export function evidenceOf(parts: CertificateParts): CertificateEvidence | undefined {
  const quote = payload(parts, OID_QUOTE, "quote");
  if (quote === undefined) return undefined;
  const eventLog = payload(parts, OID_EVENT_LOG, "event log");
  if (eventLog === undefined) throw new InputError("certificate has a quote but no event log");
  const appId = readAppIdExtension(parts);
  return {
    quote,
    eventLog: decodeUtf8(eventLog),
    ...(appId === undefined ? {} : { appId }),
  };
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (err) {
    throw new InputError("event log in the certificate is not UTF-8", { cause: err });
  }
}

/**
 * Takes quote and event log out of a certificate, `undefined` when it carries no quote.
 * @param certDer at most 64 KiB
 * @throws {InputError} not a certificate, an extension twice, a quote without an event log
 */
export function readEvidence(certDer: Uint8Array): CertificateEvidence | undefined {
  return evidenceOf(readCertificateDer(certDer));
}

/**
 * The app a certificate was issued for, `undefined` when it does not say. It counts only when a trusted KMS signed it.
 * @param certDer at most 64 KiB
 * @throws {InputError} not a certificate, or a malformed extension
 */
export function readAppId(certDer: Uint8Array): AppId | undefined {
  return readAppIdExtension(readCertificateDer(certDer));
}
