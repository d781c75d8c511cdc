import { QuoteError, authenticateCollateral, pckCaKind } from "@dstack/attestation";
import type { AuthenticCollateral, Collateral, TrustAnchor } from "@dstack/attestation";
import { InputError, hex, sha256 } from "@dstack/core";
import { pemToDer, splitPem } from "@dstack/ra-tls";

interface DocumentReport {
  readonly name: string;
  /** TCB evaluation data number or CRL number. */
  readonly number: string | null;
  /** ISO 8601. */
  readonly issued: string;
  readonly nextUpdate: string;
  /** Certificates that a CRL revokes. */
  readonly revoked?: number;
}

/** What one platform's collateral is, and whether it would be accepted at some time. */
export interface PlatformReport {
  /** Who vouches for it; `untrusted` is a root that was not named. */
  readonly root: { readonly kind: "intel" | "simulated" | "untrusted"; readonly sha256: string };
  readonly fmspc?: string;
  readonly ca?: "platform" | "processor";
  readonly documents: readonly DocumentReport[];
  /** When the first part of it ends, and which. */
  readonly expires?: { readonly at: string; readonly what: string };
  /** What is wrong with it at that time; absent when nothing is. */
  readonly refused?: string;
}

/**
 * Verifies collateral as a quote's verification would, and tells what is inside.
 * @param now Unix seconds
 */
export function describeCollateral(
  collateral: Collateral,
  anchors: readonly TrustAnchor[],
  now: number,
): PlatformReport {
  const rootSha256 = rootOf(collateral);
  const kind = anchors.find((anchor) => anchor.sha256 === rootSha256)?.kind ?? "untrusted";
  const root: PlatformReport["root"] = { kind, sha256: rootSha256 };
  let authentic: AuthenticCollateral;
  try {
    // Under its own root, so that what nobody trusts can be looked at too.
    const own = { kind: "simulated", sha256: rootSha256 } as const;
    authentic = authenticateCollateral(collateral, kind === "untrusted" ? [own] : anchors);
  } catch (err) {
    if (!(err instanceof QuoteError)) throw err;
    return { root, documents: [], refused: err.message };
  }
  const { tcbInfo, qeIdentity, pckCa, pckCrl, rootCrl, periods } = authentic;
  const first = periods.reduce((a, b) => (b.to < a.to ? b : a));
  const refused = refusalAt(root, periods, now);
  const json = (name: string, document: typeof tcbInfo | typeof qeIdentity): DocumentReport => ({
    name,
    number: String(document.tcbEvaluationDataNumber),
    issued: iso(document.issueDate),
    nextUpdate: iso(document.nextUpdate),
  });
  const crl = (name: string, list: typeof pckCrl): DocumentReport => ({
    name,
    number: list.number === undefined ? null : String(list.number),
    issued: iso(list.thisUpdate),
    nextUpdate: iso(list.nextUpdate),
    revoked: list.revoked.size,
  });
  return {
    root,
    fmspc: tcbInfo.fmspc,
    ca: pckCaKind(pckCa),
    documents: [
      json("TCB info", tcbInfo),
      json("QE identity", qeIdentity),
      crl("PCK CRL", pckCrl),
      crl("root CRL", rootCrl),
    ],
    expires: { at: iso(first.to), what: first.what },
    ...(refused === undefined ? {} : { refused }),
  };
}

/** The check that fails first at this time. */
function refusalAt(
  root: PlatformReport["root"],
  periods: AuthenticCollateral["periods"],
  now: number,
): string | undefined {
  if (root.kind === "untrusted") return "its root is not trusted; name a simulator's with --simulated-root";
  for (const { what, from, to } of periods) {
    if (now < from) return `the ${what} is not valid before ${iso(from)}`;
    if (now > to) return `the ${what} was valid until ${iso(to)}`;
  }
  return undefined;
}

/** For people: a heading and a line a document. */
export function formatPlatform(report: PlatformReport): string {
  const { root, fmspc, ca, documents, expires, refused } = report;
  const vouches =
    root.kind === "intel" ? "Intel" : `${root.kind} root ${root.sha256.slice(0, 16) || "of no form"}`;
  const heading =
    fmspc === undefined
      ? `Collateral that cannot be read, vouched for by ${vouches}`
      : `FMSPC ${fmspc}, PCKs of the ${ca === "platform" ? "Platform" : "Processor"} CA, vouched for by ${vouches}`;
  const line = (cells: readonly string[]): string =>
    `  ${cells.map((cell, index) => cell.padEnd(WIDTHS[index] ?? 0)).join("  ")}`.trimEnd();
  const rows = documents.map(({ name, number, issued, nextUpdate, revoked }) =>
    line([name, number ?? "-", issued, nextUpdate, revoked === undefined ? "" : `${revoked} revoked`]),
  );
  return [
    heading,
    ...(rows.length === 0 ? [] : [line(["document", "number", "issued", "next update"]), ...rows]),
    ...(expires === undefined ? [] : [`  valid until ${expires.at}, when the ${expires.what} ends`]),
    refused === undefined ? "  good" : `  REFUSED: ${refused}`,
  ].join("\n");
}

const WIDTHS = [11, 6, 20, 20];

/** Of the last certificate of the chain, which nothing has verified here; empty where there is none. */
function rootOf(collateral: Collateral): string {
  try {
    const last = splitPem(collateral.pck_crl_issuer_chain).at(-1) ?? "";
    return hex(sha256(pemToDer(last)));
  } catch (err) {
    if (err instanceof InputError) return "";
    throw err;
  }
}

const iso = (seconds: number): string => new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
