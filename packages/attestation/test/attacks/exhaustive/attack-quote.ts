import { describe, expect, it } from "vitest";
import { authenticateCollateral, parseQuote, verifyQuoteWith } from "../../../src/index.js";
import { readPckChain } from "../../../src/pck-chain.js";
import { codeOf } from "../../support/platform.js";
import type { Case } from "../../support/platform.js";
import { accepted, bitFlips, lies, truncations } from "./edits.js";
import type { Field } from "./edits.js";

interface Subject {
  readonly name: string;
  readonly make: () => Case;
  /** What the whole quote is refused with, if it is: then an edit must be refused before that. Default: it is accepted. */
  readonly verdict?: "tcb_unsupported";
}

/** Where the parts of a quote with 32 bytes of QE authentication data are. */
function fieldsOf(quote: Uint8Array): { fields: Field[]; end: number } {
  const { version, signedBytes } = parseQuote(quote);
  const auth = signedBytes.length + 4;
  const field = (name: string, at: number, bytes: 2 | 4): Field => ({ name, at, bytes });
  const body = version === 5 ? [field("type of the body", 48, 2), field("length of the body", 50, 4)] : [];
  const fields = [
    field("version", 0, 2),
    field("key type", 2, 2),
    field("TEE type", 4, 4),
    ...body,
    field("length of the authentication data", auth - 4, 4),
    field("type of the QE certification data", auth + 128, 2),
    field("length of the QE certification data", auth + 130, 4),
    field("length of the QE authentication data", auth + 582, 2),
    field("type of the certificates", auth + 616, 2),
    field("length of the certificates", auth + 618, 4),
  ];
  const view = new DataView(quote.buffer, quote.byteOffset);
  return { fields, end: auth + view.getUint32(auth - 4, true) };
}

/**
 * Nothing is left out, and there is nothing that could be changed unnoticed. Two forms of a quote that is whole are no
 * edits of one bit, and are accepted: the other signature (r, n − s) everybody can make of a signature, and more or less
 * zero padding behind the end. So the hash of a quote identifies nothing; its signed bytes do.
 */
export function attackQuote({ name, make, verdict }: Subject): void {
  describe(name, () => {
    const { quote, collateral, anchors, now } = make();
    const authentic = authenticateCollateral(collateral, anchors);
    const pem = parseQuote(quote).auth.pckChain;
    const chain = readPckChain(pem, authentic.root);
    /** As a verifier that keeps chains it has read: else each edit outside the chain would read it again. */
    const readPck = (text: string) => (text === pem ? chain : readPckChain(text, authentic.root));
    const whole = verdict ?? "accepted";
    const judge = (bytes: Uint8Array): string =>
      codeOf(() => verifyQuoteWith(authentic, bytes, now, { readPck }));
    const takes = (bytes: Uint8Array): boolean => [whole, "accepted"].includes(judge(bytes));
    const { fields, end } = fieldsOf(quote);

    it(`is ${whole} as it is`, () => expect(judge(quote)).toBe(whole));

    it("E1: no bit of it can be changed", { timeout: 300_000 }, () => {
      expect(accepted(bitFlips(quote), takes)).toEqual({ of: quote.length * 8, taken: [] });
    });

    it("E11: it cannot be cut off anywhere but in its zero padding", { timeout: 60_000 }, () => {
      expect(accepted(truncations(quote, end), (bytes) => judge(bytes) !== "quote_malformed")).toEqual({
        of: end,
        taken: [],
      });
      expect(judge(quote.subarray(0, end))).toBe(whole);
    });

    it.each(fields)("E11: no lie about the $name passes", { timeout: 120_000 }, (field) => {
      const { of, taken } = accepted(lies(quote, field), takes);
      expect(taken).toEqual([]);
      expect(of).toBeGreaterThan(1000);
    });
  });
}
