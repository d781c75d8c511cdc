import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { CollateralSchema } from "../../src/index.js";
import type { Collateral } from "../../src/index.js";

/** `shared/vectors` in the nearest directory above this file that has it; genuine quotes are kept outside the repository. */
function findVectors(): string | undefined {
  for (let dir = import.meta.dirname; ; dir = dirname(dir)) {
    const candidate = join(dir, "shared", "vectors");
    if (existsSync(join(candidate, "tdx_quote_v4.bin"))) return candidate;
    if (dir === dirname(dir)) return undefined;
  }
}

const directory = findVectors();

/** Whether genuine vectors are there. Says so once when they are not. */
export const haveVectors = directory !== undefined;
if (!haveVectors)
  console.warn("skipping tests with genuine quotes: there is no shared/vectors beside the checkout");

export function vector(name: string): Uint8Array {
  if (directory === undefined) throw new Error("no vectors");
  return new Uint8Array(readFileSync(join(directory, name)));
}

export interface GenuineCase {
  readonly quote: Uint8Array;
  readonly collateral: Collateral;
  readonly now: number;
}

export function genuine(name: "tdx_quote_v4" | "tdx_quote_v5"): GenuineCase {
  const text = new TextDecoder().decode(vector(`${name}.collateral.json`));
  const at = name === "tdx_quote_v4" ? "2025-06-20T00:00:00Z" : "2026-02-20T00:00:00Z";
  return {
    quote: vector(`${name}.bin`),
    collateral: CollateralSchema.parse(JSON.parse(text)),
    now: Date.parse(at) / 1000,
  };
}
