import { CollateralSchema, authenticateCollateral, pckCaKind } from "@dstack/attestation";
import type { Collateral, CollateralKeys, TrustAnchor } from "@dstack/attestation";
import { InputError, errorMessage } from "@dstack/core";
import { z } from "zod";
import { CollateralError, collateralName } from "./source.js";
import type { CollateralSource } from "./source.js";

/** Platforms in one bundle, and characters of its text. */
export const MAX_BUNDLE_PLATFORMS = 64;
export const MAX_BUNDLE_BYTES = 32 * 1024 * 1024;

const Bundle = z
  .union([CollateralSchema, z.array(CollateralSchema).min(1).max(MAX_BUNDLE_PLATFORMS)])
  .transform((value) => (Array.isArray(value) ? value : [value]));

/**
 * Reads collateral that was saved for use without a network: the nine fields of one platform as a JSON object, or an
 * array of such objects. Nothing is verified.
 * @throws {InputError}
 */
export function parseCollateralBundle(text: string): Collateral[] {
  let value: unknown;
  try {
    if (text.length <= MAX_BUNDLE_BYTES) value = JSON.parse(text);
  } catch (err) {
    throw new InputError(`the collateral bundle is not JSON: ${errorMessage(err)}`, { cause: err });
  }
  const parsed = Bundle.safeParse(value);
  if (!parsed.success) {
    throw new InputError(
      "the collateral bundle is neither an object with the nine fields nor an array of them",
    );
  }
  return parsed.data;
}

/** The text of a bundle: one platform stands alone, as other tools read it. */
export function formatCollateralBundle(bundle: readonly Collateral[]): string {
  return `${JSON.stringify(bundle.length === 1 ? bundle[0] : bundle, null, 2)}\n`;
}

/**
 * A bundle as a source. Its dates are for `verifyQuote` to judge; of two entries for one platform the one counts whose TCB
 * info was issued later.
 * @param anchors entries that none of them vouches for are as good as missing
 */
export function bundledCollateral(
  bundle: readonly Collateral[],
  anchors: readonly TrustAnchor[],
): CollateralSource {
  const byName = new Map<string, { collateral: Collateral; issued: number }>();
  const refused: string[] = [];
  for (const collateral of bundle) {
    try {
      const { tcbInfo, pckCa } = authenticateCollateral(collateral, anchors);
      const name = collateralName({ fmspc: tcbInfo.fmspc, ca: pckCaKind(pckCa) });
      const issued = tcbInfo.issueDate;
      if (issued > (byName.get(name)?.issued ?? -Infinity)) byName.set(name, { collateral, issued });
    } catch (err) {
      refused.push(errorMessage(err));
    }
  }
  const get = (keys: CollateralKeys): Collateral => {
    const name = collateralName(keys);
    const entry = byName.get(name);
    if (entry !== undefined) return entry.collateral;
    const has = [...byName.keys()].join(", ") || "none";
    const others = refused.length === 0 ? "" : `; entries refused: ${refused.join("; ")}`;
    throw new CollateralError(
      "unknown_platform",
      `the bundle has no collateral for ${name}; it has ${has}${others}`,
    );
  };
  return { get: async (keys) => get(keys) };
}
