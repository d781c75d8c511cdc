import { formatTree, leavesOf, oneLine, verdictOf } from "@dstack/attestation";
import type { AnchorKind, CheckNode, Explanation, Verdict } from "@dstack/attestation";
import { hex } from "@dstack/core";
import type { Presented } from "./presented.js";

/** The outcome of a verification, as `--json` prints it. */
export interface Report {
  readonly verdict: Verdict;
  readonly verified: boolean;
  readonly subject: Presented["subject"];
  /** Whose root the signatures lead to; absent when they lead to none that is trusted. */
  readonly anchor?: AnchorKind;
  /** Each check that refused. */
  readonly refused: readonly Finding[];
  /** Each check that was not made, needed or not. */
  readonly not_checked: readonly Finding[];
  readonly measurements?: Readonly<Record<"mrtd" | "rtmr0" | "rtmr1" | "rtmr2" | "rtmr3", string>>;
  readonly app?: Readonly<Record<"app_id" | "compose_hash" | "instance_id", string>>;
  readonly tree: CheckNode;
}

interface Finding {
  readonly check: string;
  readonly detail: string;
}

export function reportOf(
  { subject }: Pick<Presented, "subject">,
  tree: CheckNode,
  { quote, identity }: Omit<Explanation, "tree"> = {},
): Report {
  const verdict = verdictOf(tree);
  const findings = (outcome: "fail" | "skipped"): Finding[] =>
    leavesOf(tree, outcome).map(({ check, detail }) => ({ check, detail }));
  return {
    verdict,
    verified: verdict === "verified",
    subject,
    ...(quote === undefined ? {} : { anchor: quote.anchor, measurements: measurementsOf(quote.body) }),
    ...(identity === undefined
      ? {}
      : {
          app: {
            app_id: identity.appId,
            compose_hash: identity.composeHash,
            instance_id: identity.instanceId,
          },
        }),
    refused: findings("fail"),
    not_checked: findings("skipped"),
    tree,
  };
}

function measurementsOf({
  mrTd,
  rtmr,
}: NonNullable<Explanation["quote"]>["body"]): NonNullable<Report["measurements"]> {
  const [rtmr0, rtmr1, rtmr2, rtmr3] = rtmr;
  return { mrtd: hex(mrTd), rtmr0: hex(rtmr0), rtmr1: hex(rtmr1), rtmr2: hex(rtmr2), rtmr3: hex(rtmr3) };
}

/** 0 verified, 1 refused, 2 could not tell. */
export function exitCodeOf({ verdict }: Report): 0 | 1 | 2 {
  return verdict === "verified" ? 0 : verdict === "refused" ? 1 : 2;
}

const SIMULATED_WARNING =
  "WARNING: a SIMULATED platform. Whoever has its seed, which lies on the host, can forge all of this; it says nothing " +
  "about hardware.";

/** How to have something checked that was not. */
const ADVICE: Readonly<Record<string, string>> = {
  image: "give --image <dir> or --policy <file>",
  "ACPI tables": "or give --any-acpi",
  "VM shape and ACPI tables": "give rtmr0 of VMs you trust in --policy",
  "app id": "give --compose <file> or --app-id <hex>, or --any-app",
  upgrade: "give --compose <file>, or --kms-ca <pem>",
  "compose document": "give --compose <file>",
  "report data": "give --nonce <hex> or --report-data <hex>",
  KMS: "give --kms-ca <pem>",
};

/**
 * The tree, then a line for everything that refused or was not checked, and the verdict last.
 * @param depth how deep into the tree
 */
export function formatReport(report: Report, depth = Infinity): string {
  const findings =
    report.verdict === "refused"
      ? report.refused.map(({ check, detail }) => `REFUSED: ${check}: ${oneLine(detail)}`)
      : byReason(report.not_checked).map(([detail, checks]) => {
          const advice = checks.flatMap((check) => ADVICE[check] ?? []).map((text) => ` (${text})`);
          return `NOT CHECKED: ${checks.join(", ")}: ${oneLine(detail)}${advice.join("")}`;
        });
  const warning = report.anchor === "simulated" ? [SIMULATED_WARNING] : [];
  const lines = [formatTree(report.tree, depth), "", ...findings, ...warning, verdictLine(report)];
  return lines.join("\n");
}

/** What was not checked for one and the same reason stands in one line. */
function byReason(findings: readonly Finding[]): [detail: string, checks: string[]][] {
  const reasons = new Map<string, string[]>();
  for (const { check, detail } of findings) reasons.set(detail, [...(reasons.get(detail) ?? []), check]);
  return [...reasons];
}

/** The verdict in one line. A simulated platform is always named: nothing about it is a hardware promise. */
export function verdictLine({ verdict, subject, anchor, tree }: Report): string {
  if (verdict === "refused") return `${subject} REFUSED`;
  if (verdict === "unknown") {
    const open = tree.children.filter((node) => node.outcome === "skipped" && node.optional !== true);
    return `could not tell: not or not wholly checked: ${open.map((node) => node.check).join(", ")}`;
  }
  return `${subject} verified (${anchor === "simulated" ? "simulated platform" : "Intel TDX"})`;
}
