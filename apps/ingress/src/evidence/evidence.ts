import { domainReportData } from "@dstack/attestation";
import type { PublicAccount } from "@dstack/acme";
import { hex, sha256, utf8 } from "@dstack/core";
import type { GuestAgent, QuoteDocument } from "../guest-agent.js";

/** The files that tie a certificate to this app; each vouches for those before it. */
export interface Evidence {
  /** `acme-account.json` as certbot writes it (`body`, `uri`), with the names CAA records know the CA by. No key. */
  readonly account: string;
  /** `cert.pem`: the chain served. */
  readonly certificate: string;
  /** `sha256sum.txt`: checksums of both; the time of issue in a comment, which `sha256sum -c` passes over. */
  readonly sums: string;
  /** `quote.json`: over the SHA-256 of `sha256sum.txt`. */
  readonly quote: QuoteDocument;
  readonly issuedAt: Date;
}

/** Collects and quotes the evidence for a certificate. @throws {RpcError} the guest agent gives no quote */
export async function collectEvidence(
  parts: { readonly agent: GuestAgent; readonly account: PublicAccount; readonly email: string | undefined },
  chainPem: string,
  now: Date,
  signal: AbortSignal,
): Promise<Evidence> {
  const { directory, uri, caaNames } = parts.account;
  const body = parts.email === undefined ? {} : { contact: [`mailto:${parts.email}`] };
  const account = `${JSON.stringify({ body, uri, directory, caa: caaNames }, null, 2)}\n`;
  const sums = checksums(account, chainPem, now);
  const quote = await parts.agent.quote(domainReportData(utf8(sums)), signal);
  return { account, certificate: chainPem, sums, quote, issuedAt: now };
}

function checksums(account: string, certificate: string, now: Date): string {
  const line = (name: string, text: string): string => `${hex(sha256(utf8(text)))}  ${name}\n`;
  const issued = `# issued ${now.toISOString()}\n`;
  return line("acme-account.json", account) + line("cert.pem", certificate) + issued;
}
