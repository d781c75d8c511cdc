import { createRequire } from "node:module";
import type { Collateral } from "@dstack/attestation";
import { z } from "zod";
import type { SimulatedPlatform } from "../../src/index.js";

const require = createRequire(import.meta.url);

interface Verifier {
  verify(quote: Buffer, collateral: Collateral, now: number): unknown;
}
interface Library {
  QuoteVerifier: new (rootDer: Buffer) => Verifier;
}

const Verdict = z.object({ status: z.string(), advisory_ids: z.array(z.string()) });

/** What an independent verifier says under this platform's root. Its types do not resolve under NodeNext. */
export function oracleVerdict(
  platform: SimulatedPlatform,
  quote: Uint8Array,
  now: number,
  root: Uint8Array = platform.rootCertificateDer,
): z.infer<typeof Verdict> {
  const { QuoteVerifier } = require("@phala/dcap-qvl") as Library;
  const verifier = new QuoteVerifier(Buffer.from(root));
  return Verdict.parse(verifier.verify(Buffer.from(quote), platform.collateral(now), now));
}
