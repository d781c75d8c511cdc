import type { Target } from "../target.js";
import { certificate, crl, derElements, pckChain, pckExtension, pem } from "./certificates.js";
import { collateral, qeIdentity, tcbInfo } from "./documents.js";
import { ccel, eventLog } from "./event-logs.js";
import { quote } from "./quote.js";
import { raTlsCertificate } from "./ra-tls.js";

/** Every reader of bytes that a peer, its host or a collateral service prepares. */
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
];
