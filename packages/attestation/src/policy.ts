import { hex } from "@dstack/core";
import { z } from "zod";
import { PolicyError } from "./errors.js";
import type { VerifiedEvidence } from "./evidence.js";
import { TCB_STATUSES } from "./tcb-documents.js";
import type { VerifiedQuote } from "./verify-quote.js";

const register = z
  .string()
  .regex(/^[0-9a-fA-F]{96}$/, "must be 48 bytes of hex")
  .toLowerCase();

/** Measurements that are allowed, hex of 48 bytes each. Every register must be in its own list. */
export const AllowedMeasurements = z.strictObject({
  /** Accept any image. Then the rest of the evidence says only what that image cares to say. */
  allow_all: z.boolean().default(false),
  mrtd: z.array(register).default([]),
  rtmr0: z.array(register).default([]),
  rtmr1: z.array(register).default([]),
  rtmr2: z.array(register).default([]),
});

/** What verified evidence must fulfil, as a section of a configuration file. */
export const PolicyConfig = z.strictObject({
  allowed_status: z.array(z.enum(TCB_STATUSES).exclude(["Revoked"])).default(["UpToDate"]),
  /** Advisories that do not matter here. One that applies and is not listed refuses. */
  allowed_advisories: z.array(z.string()).default([]),
  /**
   * For so many days after the first better TCB level came out, an `OutOfDate` platform still passes, whatever its
   * advisories. 0: no grace.
   */
  grace_days: z.int().min(0).max(365).default(0),
  /** Collateral of an earlier TCB evaluation is refused, though it be in date. */
  min_tcb_evaluation_number: z.int().min(0).default(0),
  /** Accept TDs that a migration service may move to another platform. */
  allow_migration: z.boolean().default(false),
  allowed_mr: AllowedMeasurements.prefault({}),
  /** Where the roots of simulated platforms are; without any, simulated evidence is refused. For tests only. */
  insecure_simulated_roots: z.array(z.string()).default([]),
});
export type Policy = z.infer<typeof PolicyConfig>;

const REGISTERS = ["mrtd", "rtmr0", "rtmr1", "rtmr2"] as const;
const DAY_SECONDS = 86_400;

/** Bits of TDATTRIBUTES (Intel TDX Module ABI, "TD_ATTRIBUTES"). */
const SEPT_VE_DISABLE = 1n << 28n;
const MIGRATABLE = 1n << 29n;
/** Features of the processor that weaken nothing: LASS, PKS, KL. */
const HARMLESS_ATTRIBUTES = (1n << 27n) | (1n << 30n) | (1n << 31n);
/** XFAM bits 0 to 19, x87 to APX: the extended features that exist. */
const KNOWN_XFAM = (1n << 20n) - 1n;

/**
 * Refuses a policy that could let anything pass by omission. To be called when a daemon starts.
 * @throws {PolicyError} `policy_unusable`
 */
export function assertPolicyUsable(policy: Policy): void {
  const empty = REGISTERS.filter((name) => policy.allowed_mr[name].length === 0);
  if (!policy.allowed_mr.allow_all && empty.length > 0) {
    throw new PolicyError(
      "policy_unusable",
      `allowed_mr lists no ${empty.join(", ")}; list the image's measurements or say allow_all = true`,
    );
  }
  if (policy.allowed_mr.allow_all && empty.length < REGISTERS.length) {
    throw new PolicyError(
      "policy_unusable",
      "allowed_mr says allow_all = true and lists measurements; say one of them",
    );
  }
  if (policy.allowed_status.length === 0) {
    throw new PolicyError("policy_unusable", "allowed_status is empty: no platform could pass");
  }
}

/**
 * Decides whether verified evidence is good enough.
 * @throws {PolicyError} the first rule that refuses
 */
export function checkPolicy(evidence: VerifiedEvidence, policy: Policy): void {
  assertPolicyUsable(policy);
  checkAnchor(evidence.quote, policy);
  checkTcb(evidence.quote, policy);
  checkTd(evidence.quote, policy);
  checkMeasurements(evidence.quote, policy);
}

function checkAnchor({ anchor }: VerifiedQuote, policy: Policy): void {
  if (anchor === "simulated" && policy.insecure_simulated_roots.length === 0) {
    throw new PolicyError("simulated_refused", "the quote is of a simulated platform");
  }
}

function checkTcb(quote: VerifiedQuote, policy: Policy): void {
  const { status, advisories, tcbDate, evaluationNumber } = quote;
  if (evaluationNumber < policy.min_tcb_evaluation_number) {
    throw new PolicyError(
      "collateral_too_old",
      `the collateral is of TCB evaluation ${evaluationNumber}, ${policy.min_tcb_evaluation_number} is required`,
    );
  }
  if (isInGrace(quote, policy)) return;
  const listed = advisories.length === 0 ? "no advisories" : advisories.join(", ");
  if (!policy.allowed_status.includes(status)) {
    throw new PolicyError("tcb_status_refused", `the platform is ${status} as of ${tcbDate} (${listed})`, {
      status,
      advisories,
      tcbDate,
    });
  }
  const refused = advisories.filter((advisory) => !policy.allowed_advisories.includes(advisory));
  if (refused.length > 0) {
    throw new PolicyError("advisory_refused", `the platform is ${status}, open to ${refused.join(", ")}`, {
      status,
      advisories: refused,
    });
  }
}

/** Grace is for platforms that only wait for an update: a needed change of configuration is not given any. */
function isInGrace({ status, outdatedSince, verifiedAt }: VerifiedQuote, policy: Policy): boolean {
  if (status !== "OutOfDate" || outdatedSince === undefined) return false;
  return policy.grace_days > 0 && verifiedAt <= outdatedSince + policy.grace_days * DAY_SECONDS;
}

function checkTd({ body }: VerifiedQuote, policy: Policy): void {
  const attributes = littleEndian(body.tdAttributes);
  const refuse = (message: string): PolicyError =>
    new PolicyError("td_attributes_refused", message, {
      tdAttributes: hex(body.tdAttributes),
      xfam: hex(body.xfam),
    });
  if ((attributes & 1n) !== 0n) throw refuse("the TD runs in debug mode: the host can read its memory");
  if ((attributes & SEPT_VE_DISABLE) === 0n) {
    throw refuse("the TD lets the host inject page faults (SEPT_VE_DISABLE is clear)");
  }
  if ((attributes & MIGRATABLE) !== 0n && !policy.allow_migration) throw refuse("the TD is migratable");
  const rest = attributes & ~(SEPT_VE_DISABLE | MIGRATABLE | HARMLESS_ATTRIBUTES);
  if (rest !== 0n) throw refuse(`the TD has attributes that are not allowed (0x${rest.toString(16)})`);
  if ((littleEndian(body.xfam) & ~KNOWN_XFAM) !== 0n)
    throw refuse("the TD uses features nobody knows (XFAM)");
  if (!isZero(body.mrSignerSeam) || !isZero(body.seamAttributes)) {
    throw new PolicyError("seam_refused", "the TDX module is not a released one of Intel");
  }
  if (body.mrServiceTd !== undefined && !isZero(body.mrServiceTd)) {
    throw new PolicyError("seam_refused", "a service TD is bound to the TD");
  }
}

function checkMeasurements({ body }: VerifiedQuote, policy: Policy): void {
  if (policy.allowed_mr.allow_all) return;
  const measured = { mrtd: body.mrTd, rtmr0: body.rtmr[0], rtmr1: body.rtmr[1], rtmr2: body.rtmr[2] };
  for (const name of REGISTERS) {
    const value = hex(measured[name]);
    if (!policy.allowed_mr[name].includes(value)) {
      throw new PolicyError("measurement_refused", `${name} ${value} is not an allowed measurement`, {
        name,
        value,
      });
    }
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
