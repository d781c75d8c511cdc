import { PolicyConfig } from "@dstack/attestation";
import { z } from "zod";

/** The `[attestation]` section of a daemon's configuration: whose evidence counts, and which of it is accepted. */
export const AttestationConfig = PolicyConfig.extend({
  /** Base URL of Intel's PCS, a PCCS, or the simulated one. Untrusted: what it serves is signed. */
  pccs_url: z.url().default("https://api.trustedservices.intel.com"),
  /**
   * PEM files of simulated root CAs. Whoever has such a platform's seed can forge any evidence: for machines
   * without TDX only. Every daemon that trusts one says so.
   */
  insecure_simulated_roots: z.array(z.string().min(1)).default([]),
  /** Keeps fetched collateral over restarts. */
  collateral_cache_dir: z.string().min(1).optional(),
});

export type AttestationConfig = z.infer<typeof AttestationConfig>;
