import { constants } from "node:crypto";
import type { TlsOptions } from "node:tls";

/** How long a TLS handshake may take. */
export const DEFAULT_HANDSHAKE_MS = 10_000;

/**
 * TLS between our own daemons: 1.3 only, no tickets (a resumed session presents no certificate, so its holder could
 * not be attested; tickets also carry the certificate and break with large ones).
 */
export const TLS_1_3_WITHOUT_RESUMPTION = {
  minVersion: "TLSv1.3",
  maxVersion: "TLSv1.3",
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

/** Key and certificates as PEM, leaf first. */
export interface ServerIdentity {
  key: string;
  certChain: string;
}

export function serverTlsOptions(
  identity: ServerIdentity,
  options: { asksForCertificate: boolean; handshakeMs: number; protocol: "http/1.1" | "h2" },
): TlsOptions {
  return {
    ...TLS_1_3_WITHOUT_RESUMPTION,
    key: identity.key,
    cert: identity.certChain,
    ALPNProtocols: [options.protocol],
    handshakeTimeout: options.handshakeMs,
    requestCert: options.asksForCertificate,
    // The certificate chains to nobody; its evidence is judged after the handshake (admitPeer).
    rejectUnauthorized: false,
  };
}
