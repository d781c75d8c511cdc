import type { CollateralKeys } from "@dstack/attestation";
import { assertNever, errorMessage } from "@dstack/core";
import type { DocumentKind } from "./documents.js";

/** What happens behind `get`: to log and to count. `kind` is a closed set, good as a metric's label. */
export type CollateralEvent =
  | { readonly kind: "fetched"; readonly keys: CollateralKeys; readonly validUntil: number }
  /** What is cached stays in use until it expires. */
  | { readonly kind: "fetch_failed"; readonly keys: CollateralKeys; readonly error: unknown }
  /** The service gave documents older than ones seen before; they were not used. */
  | {
      readonly kind: "rolled_back";
      readonly keys: CollateralKeys;
      readonly documents: readonly DocumentKind[];
    }
  | { readonly kind: "cache_unusable"; readonly error: unknown }
  /** After a restart everything is fetched again, and what was seen before is forgotten. */
  | { readonly kind: "not_saved"; readonly error: unknown };

export const COLLATERAL_EVENT_KINDS = [
  "fetched",
  "fetch_failed",
  "rolled_back",
  "cache_unusable",
  "not_saved",
] as const satisfies readonly CollateralEvent["kind"][];

export interface CollateralLogLine {
  readonly level: "info" | "warn";
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

/** An event as a log line. */
export function describeCollateralEvent(event: CollateralEvent): CollateralLogLine {
  const level = event.kind === "fetched" ? "info" : "warn";
  const fields = { event: event.kind, ...("keys" in event ? event.keys : {}) };
  return { level, fields, message: sentence(event) };
}

function sentence(event: CollateralEvent): string {
  switch (event.kind) {
    case "fetched":
      return "collateral fetched";
    case "fetch_failed":
      return `fetching collateral failed: ${errorMessage(event.error)}`;
    case "rolled_back":
      return `the collateral service gave ${event.documents.join(", ")} older than seen before; not used`;
    case "cache_unusable":
      return `cached collateral is not used: ${errorMessage(event.error)}`;
    case "not_saved":
      return `collateral could not be saved: ${errorMessage(event.error)}`;
    default:
      return assertNever(event);
  }
}
