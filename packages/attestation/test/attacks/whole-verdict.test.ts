import { hex, sha512, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  PolicyConfig,
  allowedImage,
  checkPolicy,
  parseQuote,
  runtimeEvent,
  verifyEvidence,
  verifyQuote,
} from "../../src/index.js";
import type { EventLogEntry, VerifiedQuote } from "../../src/index.js";
import { AT, flip } from "../support/edit-quote.js";
import {
  BOOT_EVENTS,
  LAUNCH,
  REPORT_DATA,
  SYSTEM_READY,
  codeOf,
  logOf,
  makeCase,
  register,
} from "../support/platform.js";
import type { CaseOptions } from "../support/platform.js";
import { svn } from "./forgeries/row.js";

/** What reaches a daemon, and what it was configured with. */
interface Attack {
  readonly name: string;
  /** How the guest or its host differs from a good one: the evidence is honest about it. */
  readonly guest?: CaseOptions;
  /** What is handed over instead of the guest's own. */
  readonly quote?: (quote: Uint8Array) => Uint8Array;
  readonly log?: (events: EventLogEntry[]) => EventLogEntry[];
  readonly reportData?: Uint8Array;
  readonly policy?: Record<string, unknown>;
  readonly code: string;
}

const IMAGE = allowedImage("good", LAUNCH);
const EMPTY = new Uint8Array();
const bits = (...set: number[]): Uint8Array => {
  const bytes = new Uint8Array(8);
  for (const bit of set) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit % 8));
  return bytes;
};
const edit =
  (name: string, changes: Partial<EventLogEntry>) =>
  (events: EventLogEntry[]): EventLogEntry[] =>
    events.map((entry) => (entry.event === name ? { ...entry, ...changes } : entry));

/** As a KMS judges a caller. */
function judge({
  guest = {},
  quote = (q) => q,
  log = (l) => l,
  reportData = REPORT_DATA,
  policy = {},
}: Attack): string {
  const input = makeCase(guest);
  const config = PolicyConfig.parse({
    images: { allowed: [IMAGE] },
    insecure_simulated_roots: ["root.pem"],
    ...policy,
  });
  return codeOf(() => {
    const eventLog = JSON.stringify(log(logOf(guest.events)));
    checkPolicy(verifyEvidence({ ...input, quote: quote(input.quote), eventLog, reportData }), config);
  });
}

const ATTACKS: readonly Attack[] = [
  { name: "E1: a quote edited on the way", quote: (q) => flip(q, AT.mrTd), code: "signature_invalid" },
  {
    name: "E1: a quote of a revoked processor",
    guest: { platform: { revoked: ["pck"] } },
    code: "certificate_revoked",
  },
  { name: "E2: no log", log: () => [], code: "rtmr_mismatch" },
  { name: "E2: RTMR3's events only", log: (l) => l.filter(({ imr }) => imr === 3), code: "rtmr_mismatch" },
  {
    name: "E2: the firmware's events only",
    log: (l) => l.filter(({ imr }) => imr !== 3),
    code: "rtmr_mismatch",
  },
  {
    name: "E2: another app id beside the right digest",
    log: edit("app-id", { event_payload: "22".repeat(20) }),
    code: "event_digest_mismatch",
  },
  {
    name: "E2: another app id with its own digest",
    log: edit("app-id", runtimeEvent("app-id", new Uint8Array(20).fill(0x22))),
    code: "rtmr_mismatch",
  },
  {
    name: "E2: events under another name",
    log: edit("app-id", { event: "my-id" }),
    code: "event_digest_mismatch",
  },
  {
    name: "E2: a type that is not dstack's",
    log: edit("app-id", { event_type: 1 }),
    code: "event_log_malformed",
  },
  {
    name: "E2: identity moved to a register the image extends",
    log: (l) => l.map((entry) => (entry.event === "app-id" ? { ...entry, imr: 2 } : entry)),
    code: "rtmr_mismatch",
  },
  {
    name: "E3: two app ids, both measured",
    guest: { events: BOOT_EVENTS.toSpliced(3, 0, runtimeEvent("app-id", new Uint8Array(20))) },
    code: "identity_invalid",
  },
  {
    name: "E3: a boot that has not measured its identity yet",
    guest: { events: BOOT_EVENTS.slice(0, 4) },
    code: "identity_invalid",
  },
  { name: "E3: a guest that measured nothing", guest: { events: [] }, code: "identity_invalid" },
  {
    name: "E3: an app's event before the system was ready",
    guest: { events: [...BOOT_EVENTS, runtimeEvent("mine", EMPTY), SYSTEM_READY] },
    code: "identity_invalid",
  },
  {
    name: "E4: a quote over another key",
    reportData: sha512("ratls-cert:", "other"),
    code: "report_data_mismatch",
  },
  {
    name: "E5: a quote a container asked for",
    reportData: sha512("ratls-cert:", utf8("container")),
    code: "report_data_mismatch",
  },
  { name: "E6: a debug TD", guest: { td: { tdAttributes: bits(0, 28) } }, code: "td_attributes_refused" },
  {
    name: "E6: a TD with profiling",
    guest: { td: { tdAttributes: bits(5, 28) } },
    code: "td_attributes_refused",
  },
  {
    name: "E6: a migratable TD",
    guest: { td: { tdAttributes: bits(28, 29) } },
    code: "td_attributes_refused",
  },
  {
    name: "E6: an attribute nobody knows",
    guest: { td: { tdAttributes: bits(28, 50) } },
    code: "td_attributes_refused",
  },
  { name: "E6: no SEPT_VE_DISABLE", guest: { td: { tdAttributes: bits() } }, code: "td_attributes_refused" },
  {
    name: "E6: a service TD that may migrate it",
    guest: { quote: { version: 5 }, td: { mrServiceTd: new Uint8Array(48).fill(1) } },
    code: "seam_refused",
  },
  {
    name: "E7: an outdated platform",
    guest: { platform: { tcbStatus: "OutOfDate" } },
    code: "tcb_status_refused",
  },
  {
    name: "E7: an outdated TDX module",
    guest: { td: { teeTcbSvn: svn(5, 1, 3) } },
    code: "tcb_status_refused",
  },
  {
    name: "E7: an outdated quoting enclave",
    guest: { platform: { qe: { isvSvn: 3 } } },
    code: "tcb_status_refused",
  },
  {
    name: "E7: an open advisory",
    guest: { platform: { tcbAdvisories: ["INTEL-SA-9"] } },
    code: "advisory_refused",
  },
  {
    name: "E8: collateral of an old evaluation",
    policy: { min_tcb_evaluation_number: 99 },
    code: "collateral_too_old",
  },
  { name: "E9: another firmware", guest: { td: { mrTd: new Uint8Array(48) } }, code: "measurement_refused" },
  {
    name: "E9: another kernel",
    policy: { images: { allowed: [{ ...IMAGE, rtmr1: register("other") }] } },
    code: "measurement_refused",
  },
  { name: "E9: an empty list of images", policy: { images: {} }, code: "policy_unusable" },
  { name: "E10: a simulated platform", policy: { insecure_simulated_roots: [] }, code: "simulated_refused" },
  {
    name: "E11: a log of 300,000 characters",
    log: (l) => [...l, { ...runtimeEvent("big", EMPTY), event_payload: "00".repeat(150_000) }],
    code: "event_log_malformed",
  },
  {
    name: "E11: 1,025 events",
    log: () => Array.from({ length: 1025 }, () => SYSTEM_READY),
    code: "event_log_malformed",
  },
];

describe("judged as a daemon judges", () => {
  it("good evidence passes", () => expect(judge({ name: "none", code: "accepted" })).toBe("accepted"));

  it.each(ATTACKS)("$name: $code", (attack) => expect(judge(attack)).toBe(attack.code));

  it("E9: an image that says of itself what an allowed one would is still another image", () => {
    const evil = { td: { mrTd: new Uint8Array(48).fill(0xee) } };
    expect(judge({ name: "", guest: evil, code: "" })).toBe("measurement_refused");
  });
});

it("E1: a verdict stays what it was, though the buffer that the quote came in is filled again", () => {
  const input = makeCase();
  const buffer = Buffer.from(input.quote);
  const { body } = verifyQuote({ ...input, quote: buffer });
  const expected = structuredClone(body);
  buffer.fill(0xff);
  expect(body).toEqual(expected);
});

describe("E1: a quote that was only parsed", () => {
  it("is no verified one, to the compiler", () => {
    const parsed = parseQuote(makeCase().quote);
    // @ts-expect-error nothing but verification makes a VerifiedQuote, and authorisation takes nothing else
    const verified: VerifiedQuote = parsed;
    expect(hex(verified.body.mrTd)).toBe(LAUNCH.mrtd);
  });
});
