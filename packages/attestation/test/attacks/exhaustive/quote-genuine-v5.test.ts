import { describe } from "vitest";
import { INTEL_ROOT } from "../../../src/index.js";
import { genuine, haveVectors } from "../../support/vectors.js";
import { attackQuote } from "./attack-quote.js";

describe.skipIf(!haveVectors)("Intel's", () => {
  if (haveVectors)
    attackQuote({
      name: "a genuine quote of version 5",
      make: () => ({ ...genuine("tdx_quote_v5"), anchors: [INTEL_ROOT] }),
      verdict: "tcb_unsupported",
    });
});
