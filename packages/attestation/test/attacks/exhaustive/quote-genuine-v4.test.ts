import { describe } from "vitest";
import { INTEL_ROOT } from "../../../src/index.js";
import { genuine, haveVectors } from "../../support/vectors.js";
import { attackQuote } from "./attack-quote.js";

describe.skipIf(!haveVectors)("Intel's", () => {
  if (haveVectors)
    attackQuote({
      name: "a genuine quote of version 4",
      make: () => ({ ...genuine("tdx_quote_v4"), anchors: [INTEL_ROOT] }),
    });
});
