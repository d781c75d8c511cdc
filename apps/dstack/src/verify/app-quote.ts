import { hex, sha512 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { checkPolicy, verifyEvidence } from "@dstack/attestation";
import type { Collateral, Policy, TrustAnchor, VerifiedEvidence } from "@dstack/attestation";

/** What the person who verifies expects; what is left out is reported, not checked. */
export interface Expectation {
  /** The 64 bytes the quote must carry. */
  reportData: Uint8Array;
  appId?: AppId;
  /** SHA-256 of the app-compose document, hex. */
  composeHash?: string;
  /**
   * SHA-256 of the DER of the KMS's root CA certificate, hex. Whoever starts a VM chooses its KMS, and a KMS knows the
   * keys it gives: the right app on the keys of somebody else's KMS keeps nothing from that somebody.
   */
  caCertHash?: string;
}

export interface Check {
  name: string;
  ok: boolean;
  detail: string;
}

export interface VerifyReport {
  verified: boolean;
  /** Whose root the quote's signatures lead to; absent when they lead to none. */
  anchor?: "intel" | "simulated";
  checks: Check[];
}

/** The report data of `Tappd.TdxQuote` with its default hash: `sha512("app-data:" ‖ data)`. */
export function appReportData(data: Uint8Array): Uint8Array {
  return sha512("app-data:", data);
}

export interface AppQuote {
  quote: Uint8Array;
  /** JSON array text. */
  eventLog: string;
}

export interface VerifierInputs {
  collateral: Collateral;
  anchors: readonly TrustAnchor[];
  policy: Policy;
  /** Unix seconds. */
  now: number;
}

/**
 * Verifies a quote that an app handed out: signatures up to a trusted root, event log, platform and image policy, then
 * what the caller expects. Never throws for bad evidence: the report says which check refused it.
 */
export function verifyAppQuote(quote: AppQuote, expected: Expectation, inputs: VerifierInputs): VerifyReport {
  const checks: Check[] = [];
  const attempt = <T>(name: string, work: () => T, detail: (value: T) => string): T | undefined => {
    try {
      const value = work();
      checks.push({ name, ok: true, detail: detail(value) });
      return value;
    } catch (err) {
      checks.push({ name, ok: false, detail: err instanceof Error ? err.message : String(err) });
      return undefined;
    }
  };

  const evidence = attempt(
    "quote, collateral and event log",
    () =>
      verifyEvidence({
        quote: quote.quote,
        eventLog: quote.eventLog,
        collateral: inputs.collateral,
        now: inputs.now,
        anchors: inputs.anchors,
        reportData: expected.reportData,
      }),
    ({ quote: verified, events }) =>
      `${verified.anchor} root, status ${verified.status}, ${events.length} events replayed, report data is the expected one`,
  );
  if (evidence === undefined) return { verified: false, checks };

  attempt(
    "platform and image",
    () => checkPolicy(evidence, inputs.policy),
    () => `MRTD ${short(evidence.quote.body.mrTd)}, RTMR0-2 are those of an allowed image`,
  );
  checks.push(...identityChecks(evidence, expected));
  return { verified: checks.every((check) => check.ok), anchor: evidence.quote.anchor, checks };
}

function identityChecks({ identity }: VerifiedEvidence, expected: Expectation): Check[] {
  const checks = [
    identityCheck("app id", identity.appId, expected.appId),
    identityCheck("compose hash", identity.composeHash, expected.composeHash),
    identityCheck("hash of the KMS's CA", identity.caCertHash, expected.caCertHash),
  ];
  checks.push({
    name: "boot completed",
    ok: identity.systemReady,
    detail: identity.systemReady
      ? "the guest gave up the right to ask for keys before the app started"
      : "no system-ready event",
  });
  return checks;
}

/** What nobody expects is shown all the same: it is for the reader to compare. */
function identityCheck(name: string, found: string, expected: string | undefined): Check {
  if (expected === undefined) return { name, ok: true, detail: `NOT CHECKED, it is ${found}` };
  const ok = found === expected;
  return { name, ok, detail: ok ? found : `is ${found}, expected ${expected}` };
}

const short = (bytes: Uint8Array): string => `${hex(bytes).slice(0, 16)}…`;

/** One line a check, and the verdict last: `quote verified (simulated platform)`. */
export function formatReport(report: VerifyReport): string {
  const lines = report.checks.map((check) => `${check.ok ? "ok  " : "FAIL"} ${check.name}: ${check.detail}`);
  return [...lines, verdictLine(report)].join("\n");
}

/** The verdict in one line. A simulated platform is always named: nothing about it is a hardware promise. */
export function verdictLine(report: VerifyReport): string {
  if (!report.verified) return "quote REFUSED";
  return report.anchor === "simulated" ? "quote verified (simulated platform)" : "quote verified (Intel TDX)";
}
