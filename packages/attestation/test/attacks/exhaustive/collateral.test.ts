import { describe, expect, it } from "vitest";
import { INTEL_ROOT, verifyQuote } from "../../../src/index.js";
import type { Collateral } from "../../../src/index.js";
import { codeOf, makeCase } from "../../support/platform.js";
import type { Case } from "../../support/platform.js";
import { genuine, haveVectors } from "../../support/vectors.js";
import { EDITS_OF_A_CHARACTER, EXHAUSTIVE, accepted, characterEdits, truncations } from "./edits.js";

const FIELDS = Object.keys(makeCase().collateral) as (keyof Collateral)[];

/** Nothing may be changed but this: the line feed that ends a chain may be left out, since PEM need not end with one. */
const isNeutral = (field: keyof Collateral, edited: string, whole: string): boolean =>
  field.endsWith("_chain") && `${edited}\n` === whole;

function attackCollateral(name: string, make: () => Case): void {
  describe(name, () => {
    const good = make();
    const takes =
      (field: keyof Collateral) =>
      (edited: string): boolean => {
        const input = { ...good, collateral: { ...good.collateral, [field]: edited } };
        const verdict = codeOf(() => verifyQuote(input));
        return (verdict === "accepted") !== isNeutral(field, edited, good.collateral[field]);
      };

    it("is accepted as it is", () => expect(codeOf(() => verifyQuote(good))).toBe("accepted"));

    it.each(FIELDS)("E1: no character of %s can be changed", { timeout: 7_200_000 }, (field) => {
      const text = good.collateral[field];
      const { of, taken } = accepted(characterEdits(text), takes(field));
      expect(taken).toEqual([]);
      expect(of).toBe(text.length * EDITS_OF_A_CHARACTER);
    });

    it.each(FIELDS)("E1: %s cannot be cut off", { timeout: 300_000 }, (field) => {
      const text = good.collateral[field];
      expect(accepted(truncations(text), takes(field))).toEqual({ of: text.length, taken: [] });
    });
  });
}

attackCollateral("collateral of a simulated platform", () => makeCase());
describe.skipIf(!haveVectors || !EXHAUSTIVE)("Intel's (`pnpm attack:exhaustive`)", () => {
  if (haveVectors)
    attackCollateral("collateral of a genuine platform", () => ({
      ...genuine("tdx_quote_v4"),
      anchors: [INTEL_ROOT],
    }));
});
