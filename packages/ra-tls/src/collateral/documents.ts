import { pckCaKind } from "@dstack/attestation";
import type { AuthenticCollateral, Collateral, CollateralKeys } from "@dstack/attestation";
import { hex, sha256 } from "@dstack/core";
import { CollateralError } from "./source.js";

/** The four documents of a platform's collateral; all but TCB info serve other platforms too. */
export type DocumentKind = "root_crl" | "pck_crl" | "tcb_info" | "qe_identity";

/** What belongs together: a document with its signature and its signer's chain. */
const FIELDS: Record<DocumentKind, readonly (keyof Collateral)[]> = {
  root_crl: ["root_ca_crl"],
  pck_crl: ["pck_crl_issuer_chain", "pck_crl"],
  tcb_info: ["tcb_info_issuer_chain", "tcb_info", "tcb_info_signature"],
  qe_identity: ["qe_identity_issuer_chain", "qe_identity", "qe_identity_signature"],
};
export const DOCUMENT_KINDS = Object.keys(FIELDS) as DocumentKind[];

/** Where a platform's document is kept: `tcb_info:ff53494d0000`, `pck_crl:platform`, `root_crl`, `qe_identity`. */
export function slotOf(kind: DocumentKind, keys: CollateralKeys): string {
  if (kind === "tcb_info") return `${kind}:${keys.fmspc.toLowerCase()}`;
  return kind === "pck_crl" ? `${kind}:${keys.ca}` : kind;
}

export interface Document {
  /** Unix seconds. */
  readonly fetchedAt: number;
  readonly fields: Readonly<Partial<Record<keyof Collateral, string>>>;
}

export type Documents = Readonly<Record<DocumentKind, Document>>;

export function splitCollateral(collateral: Collateral, fetchedAt: number): Documents {
  const document = (kind: DocumentKind): Document => ({
    fetchedAt,
    fields: Object.fromEntries(FIELDS[kind].map((field) => [field, collateral[field]])),
  });
  return mapDocuments(document);
}

/** The nine fields; one that a damaged cache lacks is empty, and refused like any that is wrong. */
export function joinDocuments(documents: Documents): Collateral {
  const field = (kind: DocumentKind, name: keyof Collateral): [string, string] => [
    name,
    documents[kind].fields[name] ?? "",
  ];
  const entries = DOCUMENT_KINDS.flatMap((kind) => FIELDS[kind].map((name) => field(kind, name)));
  return Object.fromEntries(entries) as unknown as Collateral;
}

export function mapDocuments<T>(make: (kind: DocumentKind) => T): Record<DocumentKind, T> {
  return Object.fromEntries(DOCUMENT_KINDS.map((kind) => [kind, make(kind)])) as Record<DocumentKind, T>;
}

/** How new a document is. Only what is authentic has one. */
export interface Mark {
  /** Unix seconds: `issueDate` or `thisUpdate`. */
  readonly issued: number;
  /** Decimal: TCB evaluation data number or CRL number; absent where a CRL has none. */
  readonly number?: string | undefined;
}

/** The marks of authentic documents. */
export function marksOf(authentic: AuthenticCollateral): Record<DocumentKind, Mark> {
  const { rootCrl, pckCrl, tcbInfo, qeIdentity } = authentic;
  const crl = ({ thisUpdate, number }: typeof rootCrl): Mark => ({
    issued: thisUpdate,
    ...(number === undefined ? {} : { number: String(number) }),
  });
  const json = ({ issueDate, tcbEvaluationDataNumber }: typeof tcbInfo | typeof qeIdentity): Mark => ({
    issued: issueDate,
    number: String(tcbEvaluationDataNumber),
  });
  return {
    root_crl: crl(rootCrl),
    pck_crl: crl(pckCrl),
    tcb_info: json(tcbInfo),
    qe_identity: json(qeIdentity),
  };
}

/** Under this name a mark is remembered: roots are kept apart, so that a simulated one cannot age Intel's documents. */
export function markName(slot: string, authentic: AuthenticCollateral): string {
  return `${slot}@${hex(sha256(authentic.root.der)).slice(0, 16)}`;
}

/** Whether a document is older than what was seen: by either its date or its number. */
export function isOlder(mark: Mark, seen: Mark | undefined): boolean {
  if (seen === undefined) return false;
  if (mark.issued < seen.issued) return true;
  return seen.number !== undefined && BigInt(mark.number ?? -1) < BigInt(seen.number);
}

/** The newer of both, in date and number. */
export function newest(a: Mark, b: Mark | undefined): Mark {
  if (b === undefined) return a;
  const numbers = [a.number, b.number].filter((number) => number !== undefined);
  const number = numbers.sort((x, y) => (BigInt(x) < BigInt(y) ? 1 : -1))[0];
  return { issued: Math.max(a.issued, b.issued), ...(number === undefined ? {} : { number }) };
}

/** When documents may be used, both ends included, unix seconds. */
export interface Lifetime {
  readonly from: number;
  readonly until: number;
  /** What ends first. */
  readonly what: string;
}

/**
 * From the last date of issue to the first next update, or to the configured age if that is sooner. The age counts from
 * the signed date of issue, so that a mirror cannot make a document young by serving it again. The root's list is not
 * subject to it: Intel issues one a year.
 */
export function lifetimeOf(authentic: AuthenticCollateral, maxAgeS: number): Lifetime {
  const from = Math.max(...authentic.periods.map((period) => period.from));
  const ends = authentic.periods.map(({ what, to }) => ({ what, until: to }));
  for (const [kind, { issued }] of Object.entries(marksOf(authentic))) {
    if (kind !== "root_crl") ends.push({ what: `configured age of the ${kind}`, until: issued + maxAgeS });
  }
  const first = ends.reduce((a, b) => (b.until < a.until ? b : a));
  return { from, ...first };
}

/**
 * A service may answer for another platform than was asked for, with everything signed.
 * @throws {CollateralError} `malformed`
 */
export function requireAnswers(authentic: AuthenticCollateral, keys: CollateralKeys): void {
  if (authentic.tcbInfo.fmspc.toLowerCase() !== keys.fmspc.toLowerCase()) {
    throw new CollateralError("malformed", "the TCB info is of another FMSPC than was asked for");
  }
  if (pckCaKind(authentic.pckCa) !== keys.ca) {
    throw new CollateralError("malformed", "the PCK CRL is of another CA than was asked for");
  }
}
