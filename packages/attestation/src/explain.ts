import { hex } from "@dstack/core";
import type { TrustAnchor } from "./anchors.js";
import { evaluatePolicy } from "./check-policy.js";
import { failed, group, info, passed, skipped } from "./check-tree.js";
import type { CheckNode } from "./check-tree.js";
import { authenticateCollateral } from "./collateral.js";
import type { AuthenticCollateral, Collateral } from "./collateral.js";
import { EvidenceError, QuoteError } from "./errors.js";
import { readVerifiedLog, requireReportData } from "./evidence.js";
import type { AppIdentity } from "./identity.js";
import { iso } from "./period.js";
import { assertPolicyUsable } from "./policy.js";
import type { Policy } from "./policy.js";
import { parseQuote } from "./quote.js";
import { quoteCollateralKeys, verifyQuoteWith } from "./verify-quote.js";
import type { VerifiedQuote } from "./verify-quote.js";
import type { VerificationStep, Watch } from "./watch.js";

/** Something the caller could not give, and why: a sentence for people. What needs it is skipped, not passed. */
export interface Missing {
  readonly missing: string;
}

export interface ExplainInput {
  readonly quote: Uint8Array;
  readonly collateral: Collateral | Missing;
  /** JSON array text. */
  readonly eventLog: string | Missing;
  /** The 64 bytes the quote must have been made over. */
  readonly reportData: Uint8Array | Missing;
  /** Integer unix seconds. */
  readonly now: number;
  readonly anchors: readonly TrustAnchor[];
  readonly policy: Policy;
}

export interface Explanation {
  readonly tree: CheckNode;
  /** There only when the quote verified. Whether it is good enough stands in the tree. */
  readonly quote?: VerifiedQuote;
  /** There only when the log replayed to the registers of the verified quote. */
  readonly identity?: AppIdentity;
}

/**
 * Makes the checks of `verifyEvidence` and `checkPolicy`, by the same code, and tells what came of each. It refuses what
 * they refuse: the first leaf that failed is what they throw. Bad evidence never makes it throw.
 * @throws {PolicyError} `policy_unusable`
 */
export function explain(input: ExplainInput): Explanation {
  assertPolicyUsable(input.policy);
  const { node, quote } = explainQuote(input);
  if (quote === undefined) {
    const unreached = ["report data", "event log", "policy"].map((check) =>
      skipped(check, "not reached: the quote is not verified"),
    );
    return { tree: group("evidence", [node, ...unreached]) };
  }
  const log = explainLog(quote, input.eventLog);
  const tree = group<string>("evidence", [
    node,
    explainReportData(quote, input.reportData),
    log.node,
    evaluatePolicy(quote, input.policy),
  ]);
  return { tree, quote, ...(log.identity === undefined ? {} : { identity: log.identity }) };
}

/** Follows the checks as they are made, and says of each whether it was passed, refused or never begun. */
class Progress {
  readonly #begun = new Set<VerificationStep>();
  #failure: { at: VerificationStep; err: QuoteError | EvidenceError } | undefined;
  #last: VerificationStep | undefined;

  readonly watch: Watch = (step) => {
    this.#begun.add(step);
    this.#last = step;
  };

  /** Runs checks; undefined when one of them refused. */
  run<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (err) {
      if (!(err instanceof QuoteError || err instanceof EvidenceError) || this.#last === undefined) throw err;
      this.#failure = { at: this.#last, err };
      return undefined;
    }
  }

  node(step: VerificationStep, detail: string, unreached = "not reached"): CheckNode {
    if (this.#failure?.at === step) {
      const { code, message, details } = this.#failure.err;
      return failed(step, code, message, details);
    }
    return this.#begun.has(step) ? passed(step, detail) : skipped(step, unreached);
  }
}

function explainQuote(input: ExplainInput): { node: CheckNode; quote?: VerifiedQuote } {
  const { collateral, anchors, now } = input;
  const progress = new Progress();
  if ("missing" in collateral) {
    // The quote alone can refuse: by its form, or by a root that nobody trusts.
    progress.run(() => {
      progress.watch("quote format");
      const parsed = parseQuote(input.quote);
      progress.watch("PCK certificate");
      quoteCollateralKeys(parsed, anchors);
    });
    return { node: group("quote", quoteNodes(progress, {}, collateral.missing)) };
  }
  const authentic = progress.run(() => authenticateCollateral(collateral, anchors, progress.watch));
  const quote =
    authentic && progress.run(() => verifyQuoteWith(authentic, input.quote, now, { watch: progress.watch }));
  const node = group(
    "quote",
    quoteNodes(progress, { ...(authentic && { authentic }), ...(quote && { quote }) }),
  );
  return { node, ...(quote && { quote }) };
}

/** What is known to tell about the checks that were passed. */
interface Facts {
  readonly authentic?: AuthenticCollateral;
  readonly quote?: VerifiedQuote;
}

function quoteNodes(progress: Progress, { authentic, quote }: Facts, noCollateral?: string): CheckNode[] {
  const unreached = noCollateral ?? "not reached";
  const node = (step: VerificationStep, detail: string, fact?: string): CheckNode =>
    progress.node(step, fact === undefined ? detail : `${detail}; ${fact}`, unreached);
  const listed = (size: number | undefined): string | undefined =>
    size === undefined ? undefined : `${size} certificates revoked`;
  const svn = quote?.body.teeTcbSvn;
  return [
    group("collateral", [
      node("trusted root", "the chain ends at a trusted root", authentic && rootName(authentic)),
      node("root CRL", "signed by the root", listed(authentic?.rootCrl.revoked.size)),
      node("PCK CRL", "signed by the PCK CA, which is not revoked", listed(authentic?.pckCrl.revoked.size)),
      node("TCB signing certificates", "issued by the root for this, and not revoked"),
      node(
        "TCB info and QE identity",
        "signed by the TCB signer over their exact text",
        authentic && `for FMSPC ${authentic.tcbInfo.fmspc}`,
      ),
    ]),
    node("quote format", "a TDX quote, every length consumed exactly"),
    node(
      "PCK certificate",
      noCollateral === undefined
        ? "issued by the PCK CA under that root"
        : "issued under a trusted root; revocation, dates and signature are not checked",
      quote && `FMSPC ${quote.fmspc}, PPID ${quote.ppid}`,
    ),
    node("revocation", "neither the PCK certificate nor its CA is revoked"),
    node(
      "dates",
      "all certificates, lists and documents are in date",
      quote && `at ${iso(quote.verifiedAt)}`,
    ),
    node("quoting enclave", "the one Intel describes; it vouches for the attestation key"),
    node("quote signature", "made with the attestation key over the TD's report"),
    node(
      "TDX module",
      "known to Intel, signer and attributes as published",
      svn && `version ${svn[1] ?? 0}, SVN ${svn[0] ?? 0}`,
    ),
    node("TCB level", "a level Intel supports", quote && describeLevel(quote)),
  ];
}

function rootName({ anchor, root }: AuthenticCollateral): string {
  return `${anchor.kind === "intel" ? "Intel's" : "SIMULATED"}, "${root.commonName}", SHA-256 ${anchor.sha256}`;
}

function describeLevel({
  status,
  tcbDate,
  evaluationNumber,
  outdatedSince,
  earliestExpiry,
}: VerifiedQuote): string {
  const better = outdatedSince === undefined ? "" : `, a better one since ${iso(outdatedSince)}`;
  const until = `this holds until ${iso(earliestExpiry)}`;
  return `${status} as of ${tcbDate}${better}; TCB evaluation ${evaluationNumber}; ${until}`;
}

function explainReportData(quote: VerifiedQuote, reportData: Uint8Array | Missing): CheckNode {
  const check = "report data";
  if ("missing" in reportData) {
    return skipped(check, `${reportData.missing}; it is ${hex(quote.body.reportData)}`);
  }
  try {
    requireReportData(quote, reportData);
  } catch (err) {
    if (!(err instanceof EvidenceError)) throw err;
    return failed(check, err.code, err.message, err.details);
  }
  return passed(check, "the quote was made over what it must be over");
}

function explainLog(
  quote: VerifiedQuote,
  eventLog: string | Missing,
): { node: CheckNode; identity?: AppIdentity } {
  const check = "event log";
  if (typeof eventLog !== "string") {
    const { missing } = eventLog;
    return { node: skipped(check, `${missing}; without it nobody knows which app runs`) };
  }
  const progress = new Progress();
  const log = progress.run(() => readVerifiedLog(quote, eventLog, progress.watch));
  const replayed = (["RTMR0", "RTMR1", "RTMR2", "RTMR3"] as const).map((name) =>
    progress.node(`replay of ${name}`, "the events give the quoted value"),
  );
  const nodes = [
    progress.node("event log format", log === undefined ? "well-formed" : `${log.events.length} events`),
    ...replayed,
    progress.node("digests of RTMR3 events", "each is that of the event's own type, name and payload"),
    progress.node("identity events", "complete, each once and in order"),
  ];
  if (log === undefined) return { node: group(check, nodes) };
  return { node: group(check, [...nodes, tellIdentity(log.identity)]), identity: log.identity };
}

/** What the guest says of itself. It can be believed when everything else passed, the image above all. */
function tellIdentity(identity: AppIdentity): CheckNode {
  const { keyProvider } = identity;
  return group("identity", [
    info("app id", identity.appId),
    info("compose hash", identity.composeHash),
    info("instance id", identity.instanceId),
    info("root file system hash", identity.rootfsHash),
    info("hash of the KMS's CA certificate", identity.caCertHash),
    info("key provider", keyProvider ?? "none yet"),
    info(
      "system ready",
      identity.systemReady
        ? "yes: containers run, and may have asked for this quote"
        : "no: the guest still boots",
    ),
  ]);
}
