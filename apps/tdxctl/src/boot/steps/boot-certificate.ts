import { createRaTlsCertificate, generateP256 } from "@dstack/ra-tls";
import type { QuoteProvider, RuntimeEventLog } from "@dstack/tdx-attest";
import type { Identity } from "../identity.js";

/** A client certificate that carries our evidence, and its key. Neither is ever stored. */
export interface BootCertificate {
  readonly keyPem: string;
  readonly chainPem: string;
}

/** Makes a fresh key, and a certificate with a quote over it. */
export async function makeBootCertificate(
  provider: QuoteProvider,
  events: RuntimeEventLog,
  identity: Identity,
  signal: AbortSignal,
): Promise<BootCertificate> {
  const key = generateP256();
  const { chainPem } = await createRaTlsCertificate({
    key: key.privateKey,
    provider,
    eventLog: await events.eventLog(),
    commonName: identity.instanceId,
    appId: identity.appId,
    signal,
  });
  return { keyPem: key.privateKeyPem, chainPem };
}
