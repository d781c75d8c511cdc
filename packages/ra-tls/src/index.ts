export { PeerError, PeerVerifier, VerifiedPeer } from "./verify-peer.js";
export type { Measurements, PeerVerifierParts } from "./verify-peer.js";
export { AttestationConfig } from "./config.js";
export { createRaTlsCertificate, appIdExtension, BOOT_CERTIFICATE_MS } from "./ra-tls-certificate.js";
export type { QuoteSource, RaTlsCertificateRequest } from "./ra-tls-certificate.js";
export { CertificateAuthority, pemToDer, splitPem } from "./certificate-authority.js";
export type { CertificateUsage, IssueRequest } from "./certificate-authority.js";
export { readAppId, readEvidence } from "./read-evidence.js";
export type { CertificateEvidence } from "./read-evidence.js";
export { explainCertificate } from "./explain-certificate.js";
export { MAX_CERTIFICATE_BYTES } from "./certificate-der.js";
export { CollateralClient } from "./collateral/client.js";
export type { CollateralClientOptions } from "./collateral/client.js";
export { bundledCollateral, formatCollateralBundle, parseCollateralBundle } from "./collateral/bundle.js";
export { COLLATERAL_EVENT_KINDS, describeCollateralEvent } from "./collateral/events.js";
export type { CollateralEvent } from "./collateral/events.js";
export { CollateralError } from "./collateral/source.js";
export type { CollateralSource } from "./collateral/source.js";
export { generateP256, loadP256, p256FromScalar, p256Scalar, parseP256Spki } from "./p256.js";
export type { P256KeyPair } from "./p256.js";
export { deriveAppKey, deriveDiskKey, deriveEnvKey, deriveKeyFromApp, x25519PublicKey } from "./derive.js";
export type { DiskKeyContext, OnRetry } from "./derive.js";
export {
  deriveGuestKeyV0,
  deriveGuestKeyV1,
  deriveK256AppKey,
  deriveK256Root,
  k256Issuer,
  k256PublicKey,
  recoverSigner,
  signRecoverable,
} from "./guest-keys.js";
export type { AppK256Key, GuestKey, GuestKeyAlgorithm } from "./guest-keys.js";
export { MAX_ENCRYPTED_ENV_BYTES, decryptEnv, encryptEnv } from "./env-encryption.js";
export type { EnvVariable } from "./env-encryption.js";
export { requireEnvKeyOfKms, signEnvKey } from "./env-key-signature.js";
export { OID_APP_ID, OID_EVENT_LOG, OID_QUOTE } from "./oids.js";
