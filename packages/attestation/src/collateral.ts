/**
 * What Intel publishes to judge a quote by, as it came: the collateral format of Intel's quote verification library.
 * Chains are PEM, leaf first; CRLs and signatures are lower-case hex (of DER, and of r ‖ s); `tcb_info` and
 * `qe_identity` are the exact JSON text that was signed.
 */
export interface Collateral {
  readonly pck_crl_issuer_chain: string;
  readonly root_ca_crl: string;
  readonly pck_crl: string;
  readonly tcb_info_issuer_chain: string;
  readonly tcb_info: string;
  readonly tcb_info_signature: string;
  readonly qe_identity_issuer_chain: string;
  readonly qe_identity: string;
  readonly qe_identity_signature: string;
}
