export { verifyEvidence } from "./evidence.js";
export type { VerifiedEvidence } from "./evidence.js";
export { PolicyConfig, allowedImage, assertPolicyUsable } from "./policy.js";
export type { AllowedImage, Policy } from "./policy.js";
export { checkPolicy } from "./check-policy.js";
export { explain } from "./explain.js";
export type { ExplainInput, Explanation, Missing } from "./explain.js";
export { failed, group, info, leavesOf, notChecked, passed, skipped, verdictOf } from "./check-tree.js";
export type { CheckNode, Outcome, Verdict } from "./check-tree.js";
export { formatTree, oneLine } from "./format-tree.js";
export { quoteCollateralKeys, verifyQuote, verifyQuoteWith } from "./verify-quote.js";
export type { CollateralKeys, PlatformStatus, VerifiedQuote } from "./verify-quote.js";
export { QuoteVerifier } from "./verifier.js";
export { pckCaKind } from "./pck-chain.js";
export { QuoteError, EvidenceError, PolicyError } from "./errors.js";
export type { QuoteErrorCode, EvidenceErrorCode, PolicyErrorCode } from "./errors.js";

// Parts: quotes.
export { MAX_QUOTE_BYTES, parseQuote } from "./quote.js";
export type { QeReport, Quote, QuoteAuth, QuoteHeader } from "./quote.js";
export type { TdReportBody } from "./td-report.js";
export { INTEL_ROOT, simulatedAnchor } from "./anchors.js";
export type { AnchorKind, TrustAnchor } from "./anchors.js";
export { CollateralSchema, authenticateCollateral } from "./collateral.js";
export type { AuthenticCollateral, Collateral } from "./collateral.js";
export {
  certificateKeyReportData,
  domainReportData,
  freshDomainReportData,
  freshReportData,
  raTlsReportData,
} from "./report-data.js";
export type { FreshBinding, FreshPurpose } from "./report-data.js";

// Parts: event logs.
export {
  MAX_EVENTS,
  MAX_EVENT_LOG_CHARS,
  RUNTIME_EVENT_TYPE,
  checkRuntimeEvents,
  parseEventLog,
  replayEventLog,
  runtimeEvent,
  runtimeEventDigest,
} from "./event-log.js";
export type { EventLogEntry } from "./event-log.js";
export { parseCcel } from "./ccel.js";
export { readAppIdentity } from "./identity.js";
export type { AppIdentity } from "./identity.js";

// Measurements of an image, computed.
export { computeMeasurements } from "./measurement/compute.js";
export type { ComputedMeasurements } from "./measurement/compute.js";
export { explainMeasurements } from "./measurement/explain-difference.js";
export type { Difference, MeasurementComparison } from "./measurement/explain-difference.js";
export { differenceLines, measurementLines } from "./measurement/format.js";
export { MAX_OBSERVED_BYTES, parseObserved } from "./measurement/observed.js";
export type { Observed } from "./measurement/observed.js";
export { qemuBehaviour } from "./measurement/launch.js";
export type { HostBehaviour, Launch } from "./measurement/launch.js";
export { MAX_KERNEL_BYTES } from "./measurement/authenticode.js";
export { MAX_FIRMWARE_BYTES } from "./measurement/tdvf.js";
