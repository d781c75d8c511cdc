import type { SimulatedPlatformOptions } from "../../../../tdx-attest/src/simulated/platform.js";
import type { Collateral } from "../../../src/index.js";
import { makeCase } from "../../support/platform.js";
import type { Case, CaseOptions } from "../../support/platform.js";

/**
 * One way to cheat (or one good variant), what we must say, and what `@phala/dcap-qvl` 0.3.9 says: our verdict is
 * "refuse" or equal to its own, and where the two differ the row gives the reason in `differs`.
 */
export interface Row {
  readonly name: string;
  readonly make: () => Case;
  /** An error code, or the status. */
  readonly ours: string;
  readonly oracle: string;
  readonly differs?: string;
}

function makeRow(name: string, make: () => Case, ours: string, oracle: string, differs?: string): Row {
  let made: Case | undefined;
  return {
    name,
    make: () => (made ??= make()),
    ours,
    oracle,
    ...(differs === undefined ? {} : { differs }),
  };
}

/** A case by the simulator's options: whatever differs is signed like the real thing. */
export function row(name: string, options: CaseOptions, ours: string, oracle: string, differs?: string): Row {
  return makeRow(name, () => makeCase(options), ours, oracle, differs);
}

/** A bad platform. */
export function platform(
  name: string,
  options: SimulatedPlatformOptions,
  ours: string,
  oracle: string,
  differs?: string,
): Row {
  return row(name, { platform: options }, ours, oracle, differs);
}

/** A good quote whose bytes were changed afterwards. */
export function quote(
  name: string,
  edit: (quote: Uint8Array) => Uint8Array,
  ours: string,
  oracle = "refused",
  differs?: string,
): Row {
  const make = (): Case => {
    const good = makeCase();
    return { ...good, quote: edit(good.quote) };
  };
  return makeRow(name, make, ours, oracle, differs);
}

/** Good collateral whose text was changed afterwards. */
export function collateral(
  name: string,
  edit: (collateral: Collateral) => Partial<Collateral>,
  ours: string,
  oracle = "refused",
  differs?: string,
): Row {
  const make = (): Case => {
    const good = makeCase();
    return { ...good, collateral: { ...good.collateral, ...edit(good.collateral) } };
  };
  return makeRow(name, make, ours, oracle, differs);
}

/** Good evidence at another time. */
export function at(name: string, now: number, ours: string, oracle: string, differs?: string): Row {
  return makeRow(name, () => ({ ...makeCase(), now }), ours, oracle, differs);
}

export const noModule = "it does not judge the TDX module";
export const malleable = "it takes bytes that nobody signed";

/** TEE_TCB_SVN: SVN and version of the TDX module, then the microcode's. */
export function svn(module: number, version: number, microcode: number): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set([module, version, microcode]);
  return bytes;
}
