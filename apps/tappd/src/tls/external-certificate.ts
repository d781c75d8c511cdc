import { raTlsReportData } from "@dstack/attestation";
import { sleep } from "@dstack/core";
import { createRaTlsCertificate, generateP256 } from "@dstack/ra-tls";
import type { TappdContext } from "../context.js";

/** Key and PEM chain, leaf first. */
export interface ServerCertificate {
  keyPem: string;
  chainPem: string;
}

/** Verifiers refuse RA-TLS certificates that live longer than 10 days. */
const LIFETIME_MS = 9 * 86_400_000;
const RENEW_MS = 3 * 86_400_000;
const RETRY_MS = 10 * 60_000;

type Issuer = Pick<TappdContext, "keys" | "quotes" | "log">;

/** A fresh key and a certificate of the app's CA that carries evidence of this VM over that key. */
export async function issueExternalCertificate(
  { keys, quotes }: Issuer,
  signal?: AbortSignal,
): Promise<ServerCertificate> {
  const pair = generateP256();
  const { quote, eventLog } = await quotes.get(raTlsReportData(pair.publicKeySpki), signal);
  const { chainPem } = await createRaTlsCertificate({
    key: pair.privateKey,
    provider: { getQuote: async () => quote },
    eventLog,
    commonName: keys.appId,
    altNames: [keys.appId, keys.instanceId],
    appId: keys.appId,
    issuer: keys.ca,
    usages: ["serverAuth"],
    notAfterMs: Date.now() + LIFETIME_MS,
  });
  return { keyPem: pair.privateKeyPem, chainPem };
}

/** Hands out a new certificate every three days until the signal aborts; one that fails is tried again soon. */
export async function renewExternalCertificate(
  issuer: Issuer,
  use: (certificate: ServerCertificate) => void,
  signal: AbortSignal,
  timing: { renewMs: number; retryMs: number } = { renewMs: RENEW_MS, retryMs: RETRY_MS },
): Promise<void> {
  let waitMs = timing.renewMs;
  while (!signal.aborted) {
    try {
      await sleep(waitMs, signal);
      use(await issueExternalCertificate(issuer, signal));
      waitMs = timing.renewMs;
      issuer.log.info("renewed the certificate of the external TLS listener");
    } catch (err) {
      if (signal.aborted) return;
      issuer.log.error({ err }, "renewing the certificate of the external TLS listener failed");
      waitMs = timing.retryMs;
    }
  }
}
