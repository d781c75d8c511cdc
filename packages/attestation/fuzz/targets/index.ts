import type { Target } from "../target.js";
import { certificate, crl, derElements, pckChain, pckExtension, pem } from "./certificates.js";
import { collateral, qeIdentity, tcbInfo } from "./documents.js";
import { ccel, eventLog } from "./event-logs.js";
import { kernel, observed, tdvf } from "./measurement.js";
import { quote } from "./quote.js";
import { raTlsCertificate } from "./ra-tls.js";

/** Every reader of bytes that a peer, its host, a collateral service or the maker of an image prepares. */
export const TARGETS: readonly Target[] = [
  quote,
  derElements,
  certificate,
  crl,
  pem,
  pckChain,
  pckExtension,
  tcbInfo,
  qeIdentity,
  collateral,
  eventLog,
  ccel,
  raTlsCertificate,
  tdvf,
  kernel,
  observed,
];
