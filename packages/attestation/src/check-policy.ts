import { hex } from "@dstack/core";
import { failed, group, info, leavesOf, notChecked, passed, skipped } from "./check-tree.js";
import type { CheckNode } from "./check-tree.js";
import { PolicyError } from "./errors.js";
import type { PolicyErrorCode } from "./errors.js";
import type { VerifiedEvidence } from "./evidence.js";
import { iso } from "./period.js";
import { assertPolicyUsable } from "./policy.js";
import type { AllowedImage, Policy } from "./policy.js";
import { attributeMask, describeAttributes, readBits } from "./td-attributes.js";
import type { VerifiedQuote } from "./verify-quote.js";

type PolicyNode = CheckNode<PolicyErrorCode>;
type Rule = (quote: VerifiedQuote, policy: Policy) => PolicyNode;

const DAY_SECONDS = 86_400;
/** Attributes under which the host sees into the TD: the lowest byte (Intel TDX Module ABI, "TUD"). */
const UNDER_DEBUG = 0xffn;

/**
 * Decides whether verified evidence is good enough.
 * @throws {PolicyError} the first rule that refuses
 */
export function checkPolicy(evidence: Pick<VerifiedEvidence, "quote">, policy: Policy): void {
  assertPolicyUsable(policy);
  const [failure] = leavesOf(evaluatePolicy(evidence.quote, policy), "fail");
  if (failure?.code !== undefined) throw new PolicyError(failure.code, failure.detail, failure.facts);
}

/**
 * Every rule of a policy with what came of it: what {@link checkPolicy} decides by, and what people are shown.
 * @param policy one that passed `assertPolicyUsable`
 */
export function evaluatePolicy(quote: VerifiedQuote, policy: Policy): PolicyNode {
  return group(
    "policy",
    RULES.map((rule) => rule(quote, policy)),
  );
}

const checkAnchor: Rule = ({ anchor }, policy) => {
  const check = "kind of platform";
  if (anchor === "intel") return passed(check, "Intel hardware");
  if (policy.insecure_simulated_roots.length > 0) {
    return passed(check, "SIMULATED: its root is trusted for tests, and proves nothing about hardware");
  }
  return failed(check, "simulated_refused", "the quote is of a simulated platform");
};

const checkEvaluation: Rule = ({ evaluationNumber }, policy) => {
  const check = "age of the collateral";
  const required = policy.min_tcb_evaluation_number;
  if (evaluationNumber >= required) return passed(check, `TCB evaluation ${evaluationNumber}`);
  return failed(
    check,
    "collateral_too_old",
    `the collateral is of TCB evaluation ${evaluationNumber}, ${required} is required`,
  );
};

const checkFmspc: Rule = ({ fmspc }, policy) => {
  const check = "platform not denied";
  if (!policy.denied_fmspc.includes(fmspc)) return passed(check, `FMSPC ${fmspc}`);
  return failed(check, "platform_denied", `platforms of FMSPC ${fmspc} are denied`, { fmspc });
};

const checkPpid: Rule = ({ ppid }, policy) => {
  const check = "processor not denied";
  if (policy.denied_ppid.includes(ppid)) {
    return failed(check, "platform_denied", `the processor with PPID ${ppid} is denied`, { ppid });
  }
  if (policy.allowed_ppid !== undefined && !policy.allowed_ppid.includes(ppid)) {
    return failed(check, "platform_denied", `the processor with PPID ${ppid} is not an allowed one`, {
      ppid,
    });
  }
  return passed(check, `PPID ${ppid}`);
};

const checkStatus: Rule = (quote, policy) => {
  const check = "TCB status";
  const { status, advisories, tcbDate } = quote;
  if (policy.allowed_status.includes(status)) return passed(check, `${status} as of ${tcbDate}`);
  const graceEnds = endOfGrace(quote, policy);
  if (isInGrace(quote, policy)) {
    return passed(check, `${status} as of ${tcbDate}, accepted until ${iso(graceEnds ?? 0)}`);
  }
  const listed = advisories.length === 0 ? "no advisories" : advisories.join(", ");
  const over = graceEnds === undefined ? "" : `; its grace ended ${iso(graceEnds)}`;
  return failed(
    check,
    "tcb_status_refused",
    `the platform is ${status} as of ${tcbDate} (${listed})${over}`,
    { status, advisories, tcbDate },
  );
};

const checkAdvisories: Rule = (quote, policy) => {
  const check = "advisories";
  const { status, advisories, lastingAdvisories } = quote;
  const inGrace = isInGrace(quote, policy);
  const refused = advisories.filter((advisory) => {
    const excused = inGrace && !lastingAdvisories.includes(advisory);
    return (
      policy.denied_advisories.includes(advisory) ||
      (!excused && !policy.allowed_advisories.includes(advisory))
    );
  });
  if (refused.length > 0) {
    return failed(check, "advisory_refused", `the platform is ${status}, open to ${refused.join(", ")}`, {
      status,
      advisories: refused,
    });
  }
  return passed(check, advisories.length === 0 ? "none" : `accepted: ${advisories.join(", ")}`);
};

/**
 * Unix seconds; undefined where there is no grace: none is given, nobody knows since when a better level exists, or
 * the platform has a fault of its own behind the part that is out of date.
 */
function endOfGrace(
  { status, platformStatus, outdatedSince }: VerifiedQuote,
  policy: Policy,
): number | undefined {
  // No update mends that, and no status that grace can be given for tells it.
  if (platformStatus.endsWith("SWHardeningNeeded") && !policy.allowed_status.includes(platformStatus))
    return undefined;
  const days =
    status in policy.grace_days ? policy.grace_days[status as keyof Policy["grace_days"]] : undefined;
  return days === undefined || outdatedSince === undefined ? undefined : outdatedSince + days * DAY_SECONDS;
}

function isInGrace(quote: VerifiedQuote, policy: Policy): boolean {
  const end = endOfGrace(quote, policy);
  return end !== undefined && quote.verifiedAt <= end;
}

const checkAttributes: Rule = ({ body }, policy) => {
  const check = "TD attributes";
  const bits = readBits(body.tdAttributes);
  const refuse = (message: string): PolicyNode =>
    failed(check, "td_attributes_refused", message, { tdAttributes: hex(body.tdAttributes) });
  if ((bits & UNDER_DEBUG) !== 0n) {
    return refuse(`the TD runs in debug mode, the host can look into it (${describeAttributes(bits)})`);
  }
  const required = attributeMask(policy.td.required_attributes);
  const missing = required & ~bits;
  if (missing !== 0n) return refuse(`the TD lacks ${describeAttributes(missing)}`);
  const extra = bits & ~(required | attributeMask(policy.td.allowed_attributes));
  if (extra !== 0n) return refuse(`the TD has attributes that are not allowed: ${describeAttributes(extra)}`);
  return passed(check, describeAttributes(bits));
};

const checkXfam: Rule = ({ body }, policy) => {
  const check = "processor features";
  const bits = readBits(body.xfam);
  const extra = bits & ~BigInt(policy.td.allowed_xfam);
  if (extra === 0n) return passed(check, `XFAM 0x${bits.toString(16)}`);
  return failed(
    check,
    "td_attributes_refused",
    `the TD uses processor features that are not allowed (XFAM 0x${extra.toString(16)})`,
    { xfam: hex(body.xfam) },
  );
};

const checkModule: Rule = ({ body }) => {
  const check = "module signer";
  if (isZero(body.mrSignerSeam) && isZero(body.seamAttributes))
    return passed(check, "a released one of Intel");
  return failed(check, "seam_refused", "the TDX module is not a released one of Intel");
};

/** The host chooses the version of a quote, and one with a report of TDX 1.0 has no place for MRSERVICETD. */
const checkServiceTd: Rule = ({ body }) => {
  const check = "service TD";
  const { mrServiceTd } = body;
  if (mrServiceTd !== undefined) {
    if (isZero(mrServiceTd)) return passed(check, "none");
    return failed(check, "seam_refused", "a service TD is bound to the TD");
  }
  if ((readBits(body.tdAttributes) & attributeMask(["MIGRATABLE"])) === 0n) {
    return passed(check, "none that could move the TD: it is not migratable");
  }
  return failed(
    check,
    "seam_refused",
    "the TD is migratable, and its report, of TDX 1.0, does not tell whether a service TD is bound to it",
  );
};

/** What whoever started the TD wrote into it. Nothing here relies on it: it is told, not judged. */
const tellOwner: Rule = ({ body }) => {
  const set = Object.entries({
    MRCONFIGID: body.mrConfigId,
    MROWNER: body.mrOwner,
    MROWNERCONFIG: body.mrOwnerConfig,
  }).filter(([, value]) => !isZero(value));
  const told = set.map(([name, value]) => `${name} ${hex(value)}`).join(", ");
  return info("configuration by the host", told || "MRCONFIGID, MROWNER and MROWNERCONFIG are zero");
};

const checkImage: Rule = ({ body }, policy) => {
  const check = "image";
  const measured = {
    mrtd: hex(body.mrTd),
    rtmr0: hex(body.rtmr[0]),
    rtmr1: hex(body.rtmr[1]),
    rtmr2: hex(body.rtmr[2]),
  };
  if (policy.images.allow_all) {
    const told = REGISTERS.map((name) => `${name} ${measured[name]}`).join(", ");
    return skipped(check, `any is accepted, and may say anything of itself: ${told}`);
  }
  const differing = (image: AllowedImage): string[] =>
    REGISTERS.filter((name) => !allows(image[name], measured[name]));
  const candidates = policy.images.allowed
    .map((image) => ({ image, differs: differing(image) }))
    .toSorted((a, b) => a.differs.length - b.differs.length);
  const [nearest] = candidates;
  if (nearest === undefined || nearest.differs.length > 0) {
    return failed(check, "measurement_refused", describeMismatch(nearest, measured), { ...measured });
  }
  const { name, rtmr0 } = nearest.image;
  const found = `${name}: MRTD ${measured.mrtd.slice(0, 16)}…`;
  if (rtmr0 !== "any") return passed(check, `${found}, RTMR0-2`);
  return group(check, [
    passed("registers", `${found}, RTMR1 and RTMR2`),
    notChecked(
      "VM shape and ACPI tables",
      "RTMR0 may be any: the host writes these tables, and the guest's kernel runs their code",
    ),
  ]);
};

const REGISTERS = ["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const;
type Register = (typeof REGISTERS)[number];

function allows(allowed: AllowedImage[Register], value: string): boolean {
  return allowed === "any" || (Array.isArray(allowed) ? allowed.includes(value) : allowed === value);
}

function describeMismatch(
  nearest: { image: AllowedImage; differs: readonly string[] } | undefined,
  measured: Readonly<Record<Register, string>>,
): string {
  if (nearest === undefined) return "no image is allowed";
  const values = REGISTERS.filter((name) => nearest.differs.includes(name)).map(
    (name) => `${name} ${measured[name]}`,
  );
  return `no allowed image has ${values.join(", ")}; the nearest is ${nearest.image.name}`;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** In the order in which they refuse. */
const RULES: readonly Rule[] = [
  checkAnchor,
  checkEvaluation,
  checkFmspc,
  checkPpid,
  checkStatus,
  checkAdvisories,
  checkAttributes,
  checkXfam,
  checkModule,
  checkServiceTd,
  tellOwner,
  checkImage,
];
