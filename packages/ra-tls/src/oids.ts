/**
 * Extensions of RA-TLS certificates (docs/attestation.md). Each holds an OCTET STRING with the payload, is not
 * critical and appears at most once.
 */
export const OID_QUOTE = "1.3.6.1.4.1.62397.1.1";
/** JSON array text of the event log. */
export const OID_EVENT_LOG = "1.3.6.1.4.1.62397.1.2";
/** 20 bytes: the app a KMS issued this certificate for. */
export const OID_APP_ID = "1.3.6.1.4.1.62397.1.3";
