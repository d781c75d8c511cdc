import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CollateralSchema, INTEL_ROOT } from "../../packages/attestation/src/index.js";
import type { Collateral, TrustAnchor } from "../../packages/attestation/src/index.js";
import { SimulatedPlatform } from "../../packages/tdx-attest/src/simulated/platform.js";
import type { SimulatedTd } from "../../packages/tdx-attest/src/simulated/td-report.js";

/** Quotes that are good at `now` with this collateral. */
export interface Input {
  readonly name: string;
  readonly quotes: readonly Uint8Array[];
  readonly collateral: Collateral;
  readonly now: number;
  readonly anchors: readonly TrustAnchor[];
  readonly rootDer: Uint8Array;
}

/** 2026-03-01T12:00:00Z. */
const NOW = 1_772_366_400;
const SEED = new Uint8Array(32).fill(42);

const td: SimulatedTd = {
  mrTd: new Uint8Array(48).fill(1),
  rtmr: [2, 3, 4, 5].map((value) => new Uint8Array(48).fill(value)) as unknown as SimulatedTd["rtmr"],
};

/** Different quotes of one simulated platform, as a KMS gets them from the guests of one host. */
export function simulatedInput(count: number, fmspc = "FF53494D0000"): Input {
  const platform = SimulatedPlatform.fromSeed(SEED, { fmspc });
  const quotes = Array.from({ length: count }, (_, index) =>
    platform.quote(td, new Uint8Array(64).fill(index)),
  );
  return {
    name: `${count} quotes of a simulated platform`,
    quotes,
    collateral: platform.collateral(NOW),
    now: NOW,
    anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
    rootDer: platform.rootCertificateDer,
  };
}

/** The genuine quote in `shared/vectors` beside the checkout, if it is there. */
export function genuineInput(): Input | undefined {
  for (let dir = import.meta.dirname; dir !== dirname(dir); dir = dirname(dir)) {
    const path = join(dir, "shared", "vectors", "tdx_quote_v4");
    if (!existsSync(`${path}.bin`)) continue;
    const collateral = CollateralSchema.parse(JSON.parse(readFileSync(`${path}.collateral.json`, "utf8")));
    const root = collateral.pck_crl_issuer_chain.split("-----BEGIN CERTIFICATE-----").at(-1) ?? "";
    return {
      name: "a quote of Intel hardware",
      quotes: [new Uint8Array(readFileSync(`${path}.bin`))],
      collateral,
      now: Date.parse("2025-06-20T00:00:00Z") / 1000,
      anchors: [INTEL_ROOT],
      rootDer: new Uint8Array(Buffer.from(root.split("-----END")[0] ?? "", "base64")),
    };
  }
  return undefined;
}
