import { CHAINS } from "./chains.js";
import { CLOCK } from "./clock.js";
import { DOCUMENTS } from "./documents.js";
import { PLATFORMS } from "./platforms.js";
import { QUOTES } from "./quotes.js";
import { REVOCATION } from "./revocation.js";
import type { Row } from "./row.js";

export { GOOD } from "./good.js";

/** All that must be refused, by the rule that refuses it. */
export const BAD: readonly (readonly [rule: string, rows: readonly Row[]])[] = [
  ["E1: edited quotes", QUOTES],
  ["E1: certificates in another's place", CHAINS],
  ["E1: revocation that is not there", REVOCATION],
  ["E1: TCB info and QE identity", DOCUMENTS],
  ["E7: platforms that are not good", PLATFORMS],
  ["E8: the clock", CLOCK],
];
