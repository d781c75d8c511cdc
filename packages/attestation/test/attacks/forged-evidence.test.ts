import { describe, expect, it } from "vitest";
import { SimulatedPlatform } from "../../../tdx-attest/src/simulated/platform.js";
import { QuoteVerifier, simulatedAnchor, verifyQuote } from "../../src/index.js";
import { NOW, codeOf, makeCase } from "../support/platform.js";
import type { Case } from "../support/platform.js";
import { BAD, GOOD } from "./forgeries/index.js";

function verdict(input: Case): string {
  let status = "";
  const code = codeOf(() => (status = verifyQuote(input).status));
  return code === "accepted" ? status : code;
}

describe("E1: good quotes pass", () => {
  it.each(GOOD)("$name: $ours", ({ make, ours }) => expect(verdict(make())).toBe(ours));
});

describe.each(BAD)("%s", (_rule, rows) => {
  it.each(rows)("$name: $ours", ({ make, ours }) => expect(verdict(make())).toBe(ours));
});

const genuine = makeCase();

/** The verdict of a verifier that has just verified the genuine quote of the same platform, collateral and chain. */
function warmVerdict(input: Case): string {
  const verifier = new QuoteVerifier({ anchors: [...input.anchors, ...genuine.anchors] });
  const warmUp = codeOf(() => void verifier.verifyQuote(genuine));
  expect(warmUp).toBe("accepted");
  let status = "";
  const judge = (): string => codeOf(() => (status = verifier.verifyQuote(input).status));
  // Twice: whatever the first round left behind must not change the second.
  const [first, second] = [judge(), judge()];
  expect(second).toBe(first);
  return first === "accepted" ? status : first;
}

describe("E1: a verifier that remembers the genuine collateral and chain gives the same verdicts", () => {
  it.each([...GOOD, ...BAD.flatMap(([, rows]) => rows)])("$name: $ours", ({ make, ours }) =>
    expect(warmVerdict(make())).toBe(ours),
  );
});

describe("E10: only named roots are trusted", () => {
  it("refuses a simulated platform under other roots", () => {
    const { anchors: _, ...input } = makeCase();
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7)).rootSha256;
    expect(codeOf(() => verifyQuote({ ...input, anchors: [{ kind: "simulated", sha256: other }] }))).toBe(
      "root_untrusted",
    );
  });

  it("names a simulated root by its one certificate", () => {
    const { rootCertificatePem, rootSha256 } = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7));
    expect(simulatedAnchor(rootCertificatePem)).toEqual({ kind: "simulated", sha256: rootSha256 });
    expect(codeOf(() => simulatedAnchor(rootCertificatePem.repeat(2)))).toBe("certificate_malformed");
    expect(codeOf(() => simulatedAnchor(""))).toBe("certificate_malformed");
  });

  it("refuses an anchor that calls a simulated root Intel's", () => {
    const input = makeCase();
    const anchors = input.anchors.map((anchor) => ({ ...anchor, kind: "intel" as const }));
    expect(codeOf(() => verifyQuote({ ...input, anchors }))).toBe("input_invalid");
  });

  it("refuses a quote and collateral of two trusted roots", () => {
    const input = makeCase();
    const other = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7));
    const anchors = [...input.anchors, { kind: "simulated" as const, sha256: other.rootSha256 }];
    expect(codeOf(() => verifyQuote({ ...input, collateral: other.collateral(NOW), anchors }))).toBe(
      "root_untrusted",
    );
  });
});
