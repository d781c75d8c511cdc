/**
 * The checks of a quote and of its event log, in the order in which they are made. Each means what
 * `explain` says of it.
 */
export type VerificationStep =
  | "trusted root"
  | "root CRL"
  | "PCK CRL"
  | "TCB signing certificates"
  | "TCB info and QE identity"
  | "quote format"
  | "PCK certificate"
  | "revocation"
  | "dates"
  | "quoting enclave"
  | "quote signature"
  | "TDX module"
  | "TCB level"
  | "event log format"
  | "replay of RTMR0"
  | "replay of RTMR1"
  | "replay of RTMR2"
  | "replay of RTMR3"
  | "digests of RTMR3 events"
  | "identity events";

/** Is told each check as it begins; whichever was told last is the one that threw. It changes nothing. */
export type Watch = (step: VerificationStep) => void;
