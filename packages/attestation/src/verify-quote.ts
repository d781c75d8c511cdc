import { hex, sameBytes, sha256 } from "@dstack/core";
import { findAnchor } from "./anchors.js";
import type { AnchorKind, TrustAnchor } from "./anchors.js";
import type { Certificate } from "./certificate.js";
import { authenticateCollateral, certificatePeriod, requireSameRoot } from "./collateral.js";
import type { AuthenticCollateral, Collateral } from "./collateral.js";
import { requireNotRevoked } from "./crl.js";
import { QuoteError } from "./errors.js";
import { p256FromPoint, verifyRaw } from "./p256.js";
import { pckCaKind, readPckChain } from "./pck-chain.js";
import type { PckChain } from "./pck-chain.js";
import { iso, requireInDate } from "./period.js";
import { parseQuote } from "./quote.js";
import type { Quote } from "./quote.js";
import { convergeStatus, enclaveLevel, isMasked, isOutOfDate, moduleLevel, platformLevel } from "./tcb.js";
import type { ReachedLevel } from "./tcb.js";
import type { QeIdentity, TcbStatus } from "./tcb-documents.js";
import type { TdReportBody } from "./td-report.js";
import type { Watch } from "./watch.js";

declare const verified: unique symbol;

/** Statuses a verified platform can have; a revoked one is never verified. */
export type PlatformStatus = Exclude<TcbStatus, "Revoked">;

/** A quote that hardware (or a simulator the caller trusts) made, and how good that platform is. */
export interface VerifiedQuote {
  readonly [verified]: true;
  /** Who vouches. `simulated` proves nothing about hardware: show it wherever the result is shown. */
  readonly anchor: AnchorKind;
  readonly status: PlatformStatus;
  /** The status before the quoting enclave and the TDX module are looked at: one of these out of date would hide it. */
  readonly platformStatus: PlatformStatus;
  /** Advisories that apply to the platform, the TDX module and the quoting enclave, each once. */
  readonly advisories: readonly string[];
  /** Those of them that belong to a part that is not out of date: bringing the others up to date leaves them. */
  readonly lastingAdvisories: readonly string[];
  /** The oldest date of the levels reached, `2024-03-13T00:00:00Z`: fixes published up to then are in. */
  readonly tcbDate: string;
  /**
   * When the first better level of any part came out, unix seconds; undefined when there is none, or when a part is out
   * of date and nobody knows since when.
   */
  readonly outdatedSince?: number;
  /** The lower `tcbEvaluationDataNumber` of the two signed documents. */
  readonly evaluationNumber: number;
  /** 32 lower-case hex digits: the processor package. */
  readonly ppid: string;
  /** 12 upper-case hex digits: the kind of platform. */
  readonly fmspc: string;
  readonly body: TdReportBody;
  /** Unix seconds it was verified at. */
  readonly verifiedAt: number;
  /** Unix seconds: the verdict holds no longer than this. */
  readonly earliestExpiry: number;
}

/**
 * Verifies a TDX quote completely: PCK chain to a trusted root, both revocation lists, signed TCB info and QE identity,
 * QE report, quote signature, TDX module, TCB level. It says how good the platform is, not whether that is good
 * enough: that is `checkPolicy`.
 * @param input.now integer unix seconds, by the verifier's own clock
 * @throws {QuoteError}
 */
export function verifyQuote(input: {
  readonly quote: Uint8Array;
  readonly collateral: Collateral;
  readonly now: number;
  readonly anchors: readonly TrustAnchor[];
}): VerifiedQuote {
  return verifyQuoteWith(authenticateCollateral(input.collateral, input.anchors), input.quote, input.now);
}

/**
 * As {@link verifyQuote}, with collateral authenticated before. Its dates are checked again.
 * @param options.readPck gives the chain that stands in a PEM text: `readPckChain` by default
 * @param options.watch is told each check as it begins
 */
export function verifyQuoteWith(
  collateral: AuthenticCollateral,
  bytes: Uint8Array,
  now: number,
  options: { readonly readPck?: (pem: string) => PckChain; readonly watch?: Watch | undefined } = {},
): VerifiedQuote {
  const { watch } = options;
  watch?.("quote format");
  const quote = parseQuote(bytes);
  watch?.("PCK certificate");
  const readPck = options.readPck ?? ((pem: string) => readPckChain(pem, collateral.root));
  const chain = readPck(quote.auth.pckChain);
  requireGoodPck(chain, collateral, watch);
  const { pck, ca } = chain;
  const periods = [
    ...collateral.periods,
    certificatePeriod(ca, "PCK CA certificate of the quote"),
    certificatePeriod(pck, "PCK certificate"),
  ];
  watch?.("dates");
  requireInDate(periods, now);
  watch?.("quoting enclave");
  const qe = verifyQe(quote, pck, collateral.qeIdentity);
  watch?.("quote signature");
  verifySignature(quote);
  watch?.("TDX module");
  const platform = chain.platform();
  const { tcbInfo, qeIdentity } = collateral;
  const tdxModule = moduleLevel(tcbInfo, quote.body);
  const parts = tdxModule === undefined ? [qe] : [qe, tdxModule];
  watch?.("TCB level");
  const base = platformLevel(tcbInfo, platform, quote.body);
  const result = {
    anchor: collateral.anchor.kind,
    platformStatus: base.status,
    status: convergeStatus(
      base.status,
      parts.map((part) => part.status),
    ),
    ...summarize([base, ...parts]),
    evaluationNumber: Math.min(tcbInfo.tcbEvaluationDataNumber, qeIdentity.tcbEvaluationDataNumber),
    ppid: platform.ppid,
    fmspc: platform.fmspc,
    body: quote.body,
    verifiedAt: now,
    earliestExpiry: Math.min(...periods.map((period) => period.to)),
  };
  return result as unknown as VerifiedQuote;
}

/** What selects the collateral of a platform. */
export interface CollateralKeys {
  /** 12 hex digits: what TCB info is published for. */
  readonly fmspc: string;
  /** Which CA's list of revoked PCK certificates is needed. */
  readonly ca: "platform" | "processor";
}

/**
 * Which collateral a quote needs. The quote itself is not verified.
 * @param anchors when given, the chain must end at one of them: so that a stranger with a chain of his own cannot make
 * us ask for collateral of his choice
 * @throws {QuoteError} `certificate_malformed`, `chain_invalid`, `root_untrusted`
 */
export function quoteCollateralKeys(quote: Quote, anchors?: readonly TrustAnchor[]): CollateralKeys {
  return chainCollateralKeys(readPckChain(quote.auth.pckChain), anchors);
}

/** As {@link quoteCollateralKeys}, with the quote's chain read before. */
export function chainCollateralKeys(chain: PckChain, anchors?: readonly TrustAnchor[]): CollateralKeys {
  if (anchors !== undefined) findAnchor(chain.root.der, anchors);
  return { fmspc: chain.platform().fmspc, ca: pckCaKind(chain.ca) };
}

/**
 * The chain must end at the collateral's root and pass through the very CA whose revocation list we hold. The CA is the
 * same by name and key; Intel may have issued its certificate again since the platform got its PCK.
 */
function requireGoodPck(
  { pck, ca, root }: PckChain,
  collateral: AuthenticCollateral,
  watch: Watch | undefined,
): void {
  requireSameRoot(root, collateral.root, "PCK certificate chain");
  const { pckCa, rootCrl, pckCrl } = collateral;
  if (!sameBytes(ca.subject, pckCa.subject) || !sameBytes(ca.spki, pckCa.spki)) {
    throw new QuoteError("crl_invalid", "the PCK CRL is of another CA than the PCK certificate");
  }
  watch?.("revocation");
  requireNotRevoked(ca, rootCrl, "PCK CA");
  requireNotRevoked(pck, pckCrl, "PCK");
}

/** The quoting enclave is Intel's, runs on the PCK's platform, and vouches for the attestation key. */
function verifyQe(
  quote: Quote,
  pck: Certificate,
  identity: QeIdentity,
): ReachedLevel<"UpToDate" | "OutOfDate" | "Revoked"> {
  const { qeReport, qeReportSignature, attestationKey, qeAuthData } = quote.auth;
  if (!verifyRaw(pck.publicKey, qeReport.bytes, qeReportSignature)) {
    throw new QuoteError("signature_invalid", "the QE report is not signed by the PCK key");
  }
  const bound = new Uint8Array(64);
  bound.set(sha256(attestationKey, qeAuthData));
  if (!sameBytes(qeReport.reportData, bound)) {
    throw new QuoteError("qe_mismatch", "the QE report is about another attestation key");
  }
  const { mrSigner, isvProdId, isvSvn, miscSelect, attributes } = qeReport;
  const fits =
    hex(mrSigner) === identity.mrsigner.toLowerCase() &&
    isvProdId === identity.isvprodid &&
    isMasked(miscSelect, identity.miscselect, identity.miscselectMask) &&
    isMasked(attributes, identity.attributes, identity.attributesMask);
  if (!fits) throw new QuoteError("qe_mismatch", "the quoting enclave is not the one Intel describes");
  if (((attributes[0] ?? 0) & SGX_DEBUG) !== 0) {
    throw new QuoteError("qe_mismatch", "the quoting enclave runs in debug mode");
  }
  return enclaveLevel(identity.tcbLevels, isvSvn, "quoting enclave");
}

/** Bit 1 of an SGX enclave's attributes. */
const SGX_DEBUG = 0x02;

function verifySignature(quote: Quote): void {
  const key = p256FromPoint(quote.auth.attestationKey);
  if (key === undefined) throw new QuoteError("signature_invalid", "the attestation key is not on P-256");
  if (!verifyRaw(key, quote.signedBytes, quote.auth.signature)) {
    throw new QuoteError("signature_invalid", "the quote is not signed by its attestation key");
  }
}

function summarize(
  levels: readonly ReachedLevel[],
): Pick<VerifiedQuote, "advisories" | "lastingAdvisories" | "tcbDate" | "outdatedSince"> {
  const advisoriesOf = (some: readonly ReachedLevel[]): string[] => [
    ...new Set(some.flatMap((level) => level.advisories)),
  ];
  const since = levels.flatMap((level) => level.outdatedSince ?? []);
  // A date that holds for one part only would excuse the other.
  const unknown = levels.some((level) => isOutOfDate(level.status) && level.outdatedSince === undefined);
  return {
    advisories: advisoriesOf(levels),
    lastingAdvisories: advisoriesOf(levels.filter((level) => !isOutOfDate(level.status))),
    tcbDate: iso(Math.min(...levels.map((level) => level.date))),
    ...(since.length === 0 || unknown ? {} : { outdatedSince: Math.min(...since) }),
  };
}
