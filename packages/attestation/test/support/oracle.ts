import { createRequire } from "node:module";
import { z } from "zod";
import type { Collateral } from "../../src/index.js";

interface Library {
  QuoteVerifier: new (rootDer: Buffer) => {
    verify(quote: Buffer, collateral: Collateral, now: number): unknown;
  };
}
const require = createRequire(import.meta.url);
const Verdict = z.object({ status: z.string(), advisory_ids: z.array(z.string()) });

/**
 * What `@phala/dcap-qvl` 0.3.9 says: a status, or "refused".
 * It is loaded by require because its types do not resolve under NodeNext.
 */
export function oracleStatus(
  input: { quote: Uint8Array; collateral: Collateral; now: number },
  rootDer: Uint8Array,
): string {
  const { QuoteVerifier } = require("@phala/dcap-qvl") as Library;
  const verifier = new QuoteVerifier(Buffer.from(rootDer));
  let verdict: unknown;
  try {
    verdict = verifier.verify(Buffer.from(input.quote), input.collateral, input.now);
  } catch {
    return "refused";
  }
  return Verdict.parse(verdict).status;
}

/** The DER of the last certificate of a PEM chain. */
export function lastCertificate(chain: string): Uint8Array {
  const blocks = chain.split("-----BEGIN CERTIFICATE-----");
  return new Uint8Array(Buffer.from(blocks.at(-1)?.split("-----END")[0] ?? "", "base64"));
}
