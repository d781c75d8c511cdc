import { concatBytes, sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { SigningKey } from "../../../tdx-attest/src/simulated/signing-key.js";
import { parseQuote, verifyQuote } from "../../src/index.js";
import { AT, put } from "../support/edit-quote.js";
import { SEED, codeOf, makeCase } from "../support/platform.js";

/** A good quote whose quoting enclave vouches for these 64 bytes as its attestation key. */
function withAttestationKey(xy: Uint8Array): string {
  const good = makeCase();
  const { qeReport, qeAuthData } = parseQuote(good.quote).auth;
  const report = put(qeReport.bytes, 320, concatBytes(sha256(xy, qeAuthData), new Uint8Array(32)));
  const edits: [number, Uint8Array][] = [
    [AT.attestationKey, xy],
    [AT.qeReport, report],
    [AT.qeReportSignature, SigningKey.derive(SEED, "pck").sign(report)],
  ];
  const quote = edits.reduce((bytes, [at, value]) => put(bytes, at, value), good.quote);
  return codeOf(() => verifyQuote({ ...good, quote }));
}

describe("E1: attestation keys that a quoting enclave vouches for", () => {
  it("refuses the right signature under another key", () => {
    expect(withAttestationKey(parseQuote(makeCase().quote).auth.attestationKey)).toBe("accepted");
    expect(withAttestationKey(SigningKey.derive(SEED, "other").point)).toBe("signature_invalid");
  });

  it("refuses what is no point of the curve", () => {
    expect(withAttestationKey(new Uint8Array(64))).toBe("signature_invalid");
    expect(withAttestationKey(new Uint8Array(64).fill(0xff))).toBe("signature_invalid");
  });
});
