import { describe, expect, it } from "vitest";
import { lastCertificate, oracleStatus } from "../support/oracle.js";
import type { Case } from "../support/platform.js";
import { BAD, GOOD } from "./forgeries/index.js";

function oracleOf(input: Case): string {
  return oracleStatus(input, lastCertificate(input.collateral.pck_crl_issuer_chain));
}

describe("E1: our verdict is to refuse or an independent verifier's, or the difference has a name", () => {
  it.each(GOOD)("$name", ({ make, ours, oracle, differs }) => {
    expect(oracleOf(make())).toBe(oracle);
    expect(oracle === ours).toBe(differs === undefined);
  });

  it.each(BAD.flatMap(([, rows]) => rows))("$name", ({ make, oracle, differs }) => {
    expect(oracleOf(make())).toBe(oracle);
    expect(oracle === "refused").toBe(differs === undefined);
  });
});
