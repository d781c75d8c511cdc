import { z } from "zod";
import { utcSeconds } from "./der.js";
import { QuoteError } from "./errors.js";

/** Longest TCB info or QE identity we read, in characters. Intel's were under 5,000 in 2026. */
export const MAX_DOCUMENT_CHARS = 256 * 1024;

/** Statuses of a platform's TCB level, best first (Intel PCS API v4). */
export const TCB_STATUSES = [
  "UpToDate",
  "SWHardeningNeeded",
  "ConfigurationNeeded",
  "ConfigurationAndSWHardeningNeeded",
  "OutOfDate",
  "OutOfDateConfigurationNeeded",
  "Revoked",
] as const;
export type TcbStatus = (typeof TCB_STATUSES)[number];

const hexBytes = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`));
const svn = z.int().min(0).max(255);
const isvSvn = z.int().min(0).max(65535);

/** An ISO 8601 time in the one form Intel writes, as unix seconds. */
const isoTime = z.string().transform((text, context) => {
  const seconds = utcSeconds(text);
  if (Number.isNaN(seconds)) context.addIssue({ code: "custom", message: "not a time" });
  return seconds;
});

const level = { tcbDate: isoTime, advisoryIDs: z.array(z.string().max(64)).max(256).default([]) };

/** A level of the quoting enclave or of the TDX module. */
const EnclaveLevel = z.object({
  ...level,
  tcb: z.object({ isvsvn: isvSvn }),
  tcbStatus: z.enum(["UpToDate", "OutOfDate", "Revoked"]),
});
export type EnclaveLevel = z.infer<typeof EnclaveLevel>;

const components = z.array(z.object({ svn })).length(16);
const PlatformLevel = z.object({
  ...level,
  tcb: z.object({ sgxtcbcomponents: components, pcesvn: isvSvn, tdxtcbcomponents: components }),
  tcbStatus: z.enum(TCB_STATUSES),
});
export type PlatformLevel = z.infer<typeof PlatformLevel>;

const moduleSigner = { mrsigner: hexBytes(48), attributes: hexBytes(8), attributesMask: hexBytes(8) };
const dates = { issueDate: isoTime, nextUpdate: isoTime, tcbEvaluationDataNumber: z.int().min(0) };

/** TCB info, version 3, for TDX. Fields we do not judge by may be there. */
const TcbInfoSchema = z.object({
  ...dates,
  id: z.literal("TDX"),
  version: z.literal(3),
  tcbType: z.literal(0),
  fmspc: hexBytes(6).toUpperCase(),
  pceId: hexBytes(2).toUpperCase(),
  tdxModule: z.object(moduleSigner),
  tdxModuleIdentities: z
    .array(z.object({ ...moduleSigner, id: z.string(), tcbLevels: z.array(EnclaveLevel) }))
    .default([]),
  tcbLevels: z.array(PlatformLevel),
});
export type TcbInfo = z.infer<typeof TcbInfoSchema>;

/** The identity of the TD quoting enclave, version 2. */
const QeIdentitySchema = z.object({
  ...dates,
  id: z.literal("TD_QE"),
  version: z.literal(2),
  miscselect: hexBytes(4),
  miscselectMask: hexBytes(4),
  attributes: hexBytes(16),
  attributesMask: hexBytes(16),
  mrsigner: hexBytes(32),
  isvprodid: z.int().min(0).max(65535),
  tcbLevels: z.array(EnclaveLevel),
});
export type QeIdentity = z.infer<typeof QeIdentitySchema>;

/** @throws {QuoteError} `collateral_malformed` */
export const readTcbInfo = (text: string): TcbInfo => readDocument(TcbInfoSchema, text, "TCB info");

/** @throws {QuoteError} `collateral_malformed` */
export const readQeIdentity = (text: string): QeIdentity =>
  readDocument(QeIdentitySchema, text, "QE identity");

/** The text is one whose signature was verified: what is refused here is a format we do not know. */
function readDocument<T>(schema: z.ZodType<T>, text: string, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    throw new QuoteError("collateral_malformed", `reading ${what}: it is not JSON`, {}, { cause: err });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new QuoteError(
    "collateral_malformed",
    `reading ${what}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "unknown format"}`,
  );
}
