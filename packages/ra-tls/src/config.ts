import { PolicyConfig } from "@dstack/attestation";
import { InputError, errorMessage, readRegularFile } from "@dstack/core";
import { z } from "zod";
import type { CollateralClientOptions } from "./collateral/client.js";

/** The `[attestation]` section of a daemon's configuration: whose evidence counts, and which of it is accepted. */
export const AttestationConfig = PolicyConfig.extend({
  /** Base URL of Intel's PCS, a PCCS, or the simulated one. Untrusted: what it serves is signed. */
  pccs_url: z.url().default("https://api.trustedservices.intel.com"),
  /** PEM file: what the TLS certificate of `pccs_url` must chain to. A PCCS usually signs its own. */
  pccs_ca_file: z.string().min(1).optional(),
  /** Where the root CA's CRL is, if neither at Intel's nor at the service's `rootcacrl`. */
  root_crl_url: z.url().optional(),
  /** Intel's channel of TCB info: `early` has a fix on the day it is published. Default: the service's own. */
  collateral_update: z.enum(["early", "standard"]).optional(),
  /** Oldest collateral that is used, by its signed date of issue. Intel's would be valid for 30 days. */
  collateral_max_age_days: z.int().min(1).max(30).default(14),
  /**
   * PEM files of simulated root CAs. Whoever has such a platform's seed can forge any evidence: for machines
   * without TDX only. Every daemon that trusts one says so.
   */
  insecure_simulated_roots: z.array(z.string().min(1)).default([]),
  /** Keeps fetched collateral over restarts, and how new the newest was. A directory of this daemon alone. */
  collateral_cache_dir: z.string().min(1).optional(),
});

export type AttestationConfig = z.infer<typeof AttestationConfig>;

const DAY_S = 86_400;
const MAX_CA_BYTES = 64 * 1024;

/**
 * What a configuration says about where collateral comes from.
 * @throws {InputError} `pccs_ca_file` cannot be read
 */
export async function collateralOptions(
  config: Pick<
    AttestationConfig,
    | "pccs_url"
    | "pccs_ca_file"
    | "root_crl_url"
    | "collateral_update"
    | "collateral_max_age_days"
    | "collateral_cache_dir"
  >,
): Promise<Omit<CollateralClientOptions, "anchors">> {
  return {
    url: config.pccs_url,
    tlsCa: config.pccs_ca_file === undefined ? undefined : await readCa(config.pccs_ca_file),
    rootCrlUrl: config.root_crl_url,
    update: config.collateral_update,
    maxAgeS: config.collateral_max_age_days * DAY_S,
    cacheDir: config.collateral_cache_dir,
  };
}

async function readCa(path: string): Promise<string> {
  try {
    return Buffer.from(await readRegularFile(path, MAX_CA_BYTES)).toString("utf8");
  } catch (err) {
    throw new InputError(`pccs_ca_file: ${path}: ${errorMessage(err)}`, { cause: err });
  }
}
