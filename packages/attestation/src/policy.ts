import { z } from "zod";
import { PolicyError } from "./errors.js";
import { ALLOWABLE_ATTRIBUTES } from "./td-attributes.js";
import { TCB_STATUSES } from "./tcb-documents.js";

const hexOf = (bytes: number, what: string) =>
  z.string().regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`), `must be ${what}, ${bytes} bytes of hex`);
const register = hexOf(48, "a measurement").toLowerCase();
const ppid = hexOf(16, "a PPID").toLowerCase();
const fmspc = hexOf(6, "an FMSPC").toUpperCase();
/** In the spelling of Intel's documents: one that is never met would allow, or deny, nothing. */
const advisory = z
  .string()
  .regex(/^INTEL-[A-Z]+-\d{5}$/i, 'must be an advisory such as "INTEL-SA-00615"')
  .toUpperCase();
const advisories = z.array(advisory).default([]);

/** RTMR0 takes in the VM's shape (memory, devices, ACPI tables), so that one image has several. */
const Rtmr0 = z.union([register.transform((value) => [value]), z.array(register).min(1), z.literal("any")], {
  error: 'must be 48 bytes of hex, a list of them, or "any" (then VM shape and ACPI tables are not checked)',
});

/** An image by its measurements: all of them together, so that no firmware passes with another image's kernel. */
const AllowedImage = z.strictObject({
  /** For logs and people. */
  name: z.string().min(1).max(128),
  mrtd: register,
  rtmr0: Rtmr0,
  rtmr1: register,
  rtmr2: register,
});
export type AllowedImage = z.infer<typeof AllowedImage>;

/** An entry of `images.allowed` for one image in one VM shape, from its measurements in hex. */
export function allowedImage(
  name: string,
  { mrtd, rtmr0, rtmr1, rtmr2 }: Readonly<Record<"mrtd" | "rtmr0" | "rtmr1" | "rtmr2", string>>,
): AllowedImage {
  return { name, mrtd, rtmr0: [rtmr0], rtmr1, rtmr2 };
}

const Images = z.strictObject({
  /** Accept any image. Then the rest of the evidence says only what that image cares to say. */
  allow_all: z.boolean().default(false),
  allowed: z.array(AllowedImage).default([]),
});

/** Attributes of the TD itself. Debugging and profiling by the host are not among what can be allowed. */
const TdRules = z.strictObject({
  allowed_attributes: z.array(z.enum(ALLOWABLE_ATTRIBUTES)).default(["LASS", "PKS", "KL"]),
  required_attributes: z.array(z.enum(ALLOWABLE_ATTRIBUTES)).default(["SEPT_VE_DISABLE"]),
  /** Processor features (XFAM) a TD may use, as a mask. By default bits 0 to 19, x87 to APX: those that exist. */
  allowed_xfam: z
    .string()
    .regex(/^0x[0-9a-fA-F]{1,16}$/, 'must be a mask such as "0xfffff"')
    .default("0xfffff"),
});

const GRACE_STATUSES = ["OutOfDate", "OutOfDateConfigurationNeeded"] as const;

/**
 * What verified evidence must fulfil, as a section of a configuration file in TOML or JSON. Without any key it accepts
 * no image; with an image alone it is as strict as it can be.
 */
export const PolicyConfig = z.strictObject({
  allowed_status: z.array(z.enum(TCB_STATUSES).exclude(["Revoked"])).default(["UpToDate"]),
  /**
   * For so many days after the first better TCB level came out, a platform of this status still passes, whatever
   * advisories its outdated parts have, denied ones excepted.
   */
  grace_days: z.partialRecord(z.enum(GRACE_STATUSES), z.int().min(1).max(365)).default({}),
  /** Advisories that do not matter here. One that applies and is not listed refuses. */
  allowed_advisories: advisories,
  /** Advisories that refuse even in grace. */
  denied_advisories: advisories,
  /** Collateral of an earlier TCB evaluation is refused, though it be in date. */
  min_tcb_evaluation_number: z.int().min(0).default(0),
  /** Kinds of platform that are refused. */
  denied_fmspc: z.array(fmspc).default([]),
  /** Processors that are refused, such as one whose key got out. */
  denied_ppid: z.array(ppid).default([]),
  /** The only processors that are accepted; any when this is left out. */
  allowed_ppid: z.array(ppid).optional(),
  td: TdRules.prefault({}),
  images: Images.prefault({}),
  /** Where the roots of simulated platforms are; without any, simulated evidence is refused. For tests only. */
  insecure_simulated_roots: z.array(z.string()).default([]),
});
export type Policy = z.infer<typeof PolicyConfig>;

/**
 * Refuses a policy that could let anything pass by omission, or that contradicts itself. To be called when a daemon
 * starts.
 * @throws {PolicyError} `policy_unusable`
 */
export function assertPolicyUsable(policy: Policy): void {
  const { images } = policy;
  if (!images.allow_all && images.allowed.length === 0) {
    throw unusable("images.allowed is empty; list the image's measurements or say images.allow_all = true");
  }
  if (images.allow_all && images.allowed.length > 0) {
    throw unusable("images says allow_all = true and lists images; say one of them");
  }
  if (policy.allowed_status.length === 0) throw unusable("allowed_status is empty: no platform could pass");
  if (policy.allowed_ppid?.length === 0) {
    throw unusable("allowed_ppid is empty: no platform could pass; leave it out to accept any");
  }
  refuseCommon(
    "allowed_advisories",
    policy.allowed_advisories,
    "denied_advisories",
    policy.denied_advisories,
  );
  refuseCommon("allowed_ppid", policy.allowed_ppid ?? [], "denied_ppid", policy.denied_ppid);
  refuseCommon("allowed_status", policy.allowed_status, "grace_days", Object.keys(policy.grace_days));
}

function refuseCommon(
  one: string,
  values: readonly string[],
  other: string,
  others: readonly string[],
): void {
  const common = values.find((value) => others.includes(value));
  if (common !== undefined) throw unusable(`${common} stands in ${one} and in ${other}; say one of them`);
}

function unusable(message: string): PolicyError {
  return new PolicyError("policy_unusable", message);
}
