import { concatBytes } from "@dstack/core";
import { QuoteError, parseQuote } from "../../src/index.js";
import { makeCase } from "../../test/support/platform.js";
import { require, sameBytes } from "../target.js";
import type { Target } from "../target.js";

export const quote: Target = {
  name: "quote",
  seeds: () => [
    makeCase().quote,
    makeCase({ quote: { version: 5 } }).quote,
    makeCase({ quote: { version: 5, bodyType: 2, padding: 20 } }).quote,
    makeCase({ quote: { qeAuthData: new Uint8Array() } }).quote,
  ],
  refusals: [QuoteError],
  read: (input) => {
    const { version, signedBytes, body, auth } = parseQuote(input);
    const length = version === 4 ? 632 : body.mrServiceTd === undefined ? 638 : 702;
    require(signedBytes.length === length, "the signed bytes are not header and body");
    require(sameBytes(signedBytes, input.subarray(0, length)), "the signed bytes are not where they were");
    require([body.mrTd, ...body.rtmr].every((register) => register.length === 48) &&
      body.reportData.length === 64, "a register has another length");
    require(auth.signature.length === 64 && auth.attestationKey.length === 64, "a signature is cut off");
    // Whatever is not zero padding stands in exactly one field.
    const { qeReport, qeReportSignature, qeAuthData, pckChain } = auth;
    const fields = [
      signedBytes,
      auth.signature,
      auth.attestationKey,
      qeReport.bytes,
      qeReportSignature,
      qeAuthData,
    ];
    const headers = 4 + 6 + 2 + 6;
    const size = concatBytes(...fields).length + headers + pckChain.length;
    const rest = input.subarray(size);
    require(rest.every((byte) => byte === 0), "bytes that no field holds are not zero");
  },
};
