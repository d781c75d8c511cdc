import { createRaTlsCertificate, generateP256, loadP256 } from "@dstack/ra-tls";
import type { QuoteProvider, RuntimeEventLog } from "@dstack/tdx-attest";
import type { Identity } from "../identity.js";

/** A client certificate that carries our evidence, and its key, which stays in memory: it registers this VM again. */
export interface BootCertificate {
  readonly keyPem: string;
  readonly chainPem: string;
}

/** Makes a fresh key, and a certificate with a quote over it. */
export async function makeBootCertificate(
  provider: QuoteProvider,
  events: RuntimeEventLog,
  identity: Pick<Identity, "appId" | "instanceId">,
  signal: AbortSignal,
): Promise<BootCertificate> {
  return certificateFor(generateP256().privateKeyPem, provider, events, identity, signal);
}

/** Makes a certificate for that key with a quote of what this guest is now. */
export async function certificateFor(
  keyPem: string,
  provider: QuoteProvider,
  events: RuntimeEventLog,
  identity: Pick<Identity, "appId" | "instanceId">,
  signal: AbortSignal,
): Promise<BootCertificate> {
  const { chainPem } = await createRaTlsCertificate({
    key: loadP256(keyPem).privateKey,
    provider,
    eventLog: await events.eventLog(),
    commonName: identity.instanceId,
    appId: identity.appId,
    signal,
  });
  return { keyPem, chainPem };
}
