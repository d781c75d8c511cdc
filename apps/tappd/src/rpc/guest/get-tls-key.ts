import { raTlsReportData } from "@dstack/attestation";
import { InputError } from "@dstack/core";
import type { dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { appIdExtension, createRaTlsCertificate, generateP256 } from "@dstack/ra-tls";
import type { CertificateUsage, P256KeyPair } from "@dstack/ra-tls";
import type { TappdContext } from "../../context.js";
import { commonNameOf, defaultNotAfter, requireAltNames } from "../requests.js";

type Request = Parameters<
  Handler<typeof dstackGuest.GetTlsKeyRequestSchema, typeof dstackGuest.GetTlsKeyResponseSchema>
>[0];

/** Verifiers refuse RA-TLS certificates that live longer: their evidence ages (docs/attestation.md). */
const MAX_RA_TLS_MS = 10 * 86_400_000;
/** A certificate begins a little in the past; that counts towards its lifetime. */
const CLOCK_SKEW_MS = 5 * 60_000;
/** 9999-12-31T23:59:59Z, the last time X.509 can write (RFC 5280 §4.1.2.5). */
const LAST_SECOND = 253_402_300_799n;

/** A fresh P-256 key with a certificate from the app's CA, on request with evidence of this VM over that key. */
export const getTlsKey =
  (
    context: TappdContext,
  ): Handler<typeof dstackGuest.GetTlsKeyRequestSchema, typeof dstackGuest.GetTlsKeyResponseSchema> =>
  async (request, call) => {
    requireAltNames(request.altNames);
    const pair = generateP256();
    const certificateChain = request.usageRaTls
      ? await attestedChain(context, request, pair, call.signal)
      : await plainChain(context, request, pair);
    return { key: pair.privateKeyPem, certificateChain };
  };

async function plainChain(context: TappdContext, request: Request, pair: P256KeyPair): Promise<string[]> {
  const { ca, appId } = context.keys;
  const notBefore = dateOf("not_before", request.notBefore);
  const notAfter = dateOf("not_after", request.notAfter) ?? defaultNotAfter(context.keys);
  if (notAfter <= (notBefore ?? new Date()))
    throw new InputError("not_after must lie after not_before and now");
  const certificate = await ca.issue({
    publicKey: pair.publicKey,
    commonName: commonNameOf(request.subject, appId),
    altNames: request.altNames,
    usages: usagesOf(request),
    extensions: request.withAppInfo ? [appIdExtension(appId)] : [],
    ...(notBefore === undefined ? {} : { notBefore }),
    notAfter,
  });
  return [certificate, ...ca.chain];
}

async function attestedChain(
  context: TappdContext,
  request: Request,
  pair: P256KeyPair,
  signal: AbortSignal,
): Promise<string[]> {
  if (request.notBefore !== undefined) {
    throw new InputError("not_before cannot be chosen with usage_ra_tls: the evidence is of now");
  }
  const latest = Date.now() + MAX_RA_TLS_MS - CLOCK_SKEW_MS;
  const notAfterMs = dateOf("not_after", request.notAfter)?.getTime() ?? latest;
  if (notAfterMs <= Date.now() || notAfterMs > latest) {
    throw new InputError("not_after must lie within 10 days from now with usage_ra_tls");
  }
  const { ca, appId } = context.keys;
  const { quote, eventLog } = await context.quotes.get(raTlsReportData(pair.publicKeySpki), signal);
  const { certPem } = await createRaTlsCertificate({
    key: pair.privateKey,
    provider: { getQuote: async () => quote },
    eventLog,
    commonName: commonNameOf(request.subject, appId),
    altNames: request.altNames,
    usages: usagesOf(request),
    ...(request.withAppInfo ? { appId } : {}),
    issuer: ca,
    notAfterMs,
  });
  return [certPem, ...ca.chain];
}

function usagesOf(request: Request): CertificateUsage[] {
  const usages: CertificateUsage[] = [];
  if (request.usageServerAuth) usages.push("serverAuth");
  if (request.usageClientAuth) usages.push("clientAuth");
  return usages;
}

/** @param seconds Unix seconds */
function dateOf(name: string, seconds: bigint | undefined): Date | undefined {
  if (seconds === undefined) return undefined;
  if (seconds > LAST_SECOND) throw new InputError(`${name} must be a Unix time in seconds`);
  return new Date(Number(seconds) * 1000);
}
