import {
  INTEL_ROOT,
  QuoteError,
  authenticateCollateral,
  explain,
  group,
  info,
  parseQuote,
  quoteCollateralKeys,
  skipped,
} from "@dstack/attestation";
import type { AllowedImage, CheckNode, Collateral, Explanation, Missing, Policy } from "@dstack/attestation";
import { CollateralError } from "@dstack/ra-tls";
import type { PresentedDomain } from "./domain.js";
import { checkIdentity } from "./expectation.js";
import type { Expectation } from "./expectation.js";
import { firstDifference } from "./first-difference.js";
import { compareWith } from "./given-image.js";
import type { ImageComparison } from "./given-image.js";
import type { Presented } from "./presented.js";
import { reportOf } from "./report.js";
import type { Report } from "./report.js";
import type { Trust } from "./trust.js";

/** Verifies what was presented, from the key it is bound to down to the compose document. Bad evidence throws nothing. */
export async function judge(
  presented: Presented,
  expected: Expectation,
  trust: Trust,
  signal: AbortSignal,
): Promise<Report> {
  const { nodes, explanation } = await examine(presented, expected, trust, signal);
  return reportOf(presented, group("evidence", [...presented.checks, ...nodes]), explanation);
}

/** As {@link judge}, for a custom domain: both its quotes must be good ones of the expected app. */
export async function judgeDomain(
  { stored, fresh }: PresentedDomain,
  expected: Expectation,
  trust: Trust,
  signal: AbortSignal,
): Promise<Report> {
  const kept = await examine(stored, expected, trust, signal);
  const answered = await examine(fresh, expected, trust, signal);
  const tree = group("evidence", [
    ...stored.checks,
    group("quote.json", kept.nodes),
    group("answer to our nonce", [...fresh.checks, ...answered.nodes]),
  ]);
  return reportOf(stored, tree, answered.explanation);
}

interface Examined {
  readonly nodes: readonly CheckNode[];
  readonly explanation: Omit<Explanation, "tree">;
}

/** What is verified of the quote itself, beside the checks that led to it. */
async function examine(
  presented: Presented,
  expected: Expectation,
  trust: Trust,
  signal: AbortSignal,
): Promise<Examined> {
  const { quote, eventLog } = presented;
  if ("missing" in quote) return { nodes: [skipped("quote", quote.missing)], explanation: {} };
  const image = await imageFor(quote, eventLog, trust);
  const explanation = explain({
    quote,
    eventLog,
    reportData: presented.reportData,
    collateral: await collateralFor(quote, trust, signal),
    now: trust.now,
    anchors: trust.anchors,
    policy: policyWith(image.allowed, trust.policy),
  });
  const app = checkIdentity(explanation.identity, expected, presented);
  const time = trust.atGivenTime ? [asOf(trust.now)] : [];
  const why =
    trust.image === undefined || typeof eventLog !== "string"
      ? []
      : await firstDifference(trust.image, explanation, eventLog);
  return { nodes: [...time, ...explanation.tree.children, ...image.remarks, ...why, app], explanation };
}

function asOf(now: number): CheckNode {
  return info(
    "time",
    `judged as of ${new Date(now * 1000).toISOString()}, as asked; today's verdict may differ`,
  );
}

async function imageFor(
  quote: Uint8Array,
  eventLog: Presented["eventLog"],
  { image }: Trust,
): Promise<ImageComparison> {
  if (image === undefined) return { allowed: [], remarks: [] };
  return compareWith(image, isIntels(quote) ? "intel" : "simulated", eventLog);
}

/** Without an image to compare with any is accepted, which the tree tells as not checked. */
function policyWith(further: readonly AllowedImage[], policy: Policy): Policy {
  const { allow_all, allowed } = policy.images;
  const all = [...allowed, ...further];
  return { ...policy, images: { allow_all: allow_all || all.length === 0, allowed: allow_all ? [] : all } };
}

function isIntels(quote: Uint8Array): boolean {
  try {
    quoteCollateralKeys(parseQuote(quote), [INTEL_ROOT]);
    return true;
  } catch (err) {
    if (err instanceof QuoteError) return false;
    throw err;
  }
}

/**
 * Collateral for this quote that is genuine and in date, or why there is none: that says nothing against the quote.
 * A quote that nobody trusted vouches for is not asked for: `explain` refuses it by itself.
 */
async function collateralFor(
  quote: Uint8Array,
  { collateral, anchors, now }: Trust,
  signal: AbortSignal,
): Promise<Collateral | Missing> {
  try {
    const keys = quoteCollateralKeys(parseQuote(quote), anchors);
    const found = await collateral.get(keys, now, signal);
    const late = authenticateCollateral(found, anchors).periods.find(
      ({ from, to }) => now < from || now > to,
    );
    if (late === undefined) return found;
    return { missing: `the collateral's ${late.what} is not in date` };
  } catch (err) {
    if (err instanceof QuoteError || err instanceof CollateralError) return { missing: err.message };
    throw err;
  }
}
