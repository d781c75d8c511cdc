import type { Command } from "commander";
import { CliError } from "../output.js";

/** What `dstack verify` looks at. */
export type TargetKind = "endpoint" | "certificate" | "quote" | "cvm";

const NAMES: Readonly<Record<TargetKind, string>> = {
  endpoint: "an https:// address",
  certificate: "a certificate",
  quote: "a quote",
  cvm: "a local CVM, which is judged by its installation; give its https:// address",
};

const NOT_CVM: readonly TargetKind[] = ["endpoint", "certificate", "quote"];

/** Options that are for some targets only, by commander's names; all others are for every target. */
const ONLY_FOR: Readonly<Record<string, readonly TargetKind[]>> = {
  path: ["endpoint", "cvm"],
  dns: ["endpoint"],
  nonce: ["quote"],
  reportData: ["quote"],
  eventLog: ["quote"],
  anyApp: NOT_CVM,
  image: NOT_CVM,
  anyAcpi: NOT_CVM,
  policy: NOT_CVM,
  collateral: NOT_CVM,
  pccsUrl: NOT_CVM,
  simulatedRoot: NOT_CVM,
  at: NOT_CVM,
};

/**
 * Refuses an option that nothing of this kind would be judged by: who gave it would take the verdict for one about it.
 * @throws {CliError} exit code 2
 */
export function requireFitting(kind: TargetKind, command: Command): void {
  const idle = command.options.find((option) => {
    const name = option.attributeName();
    return command.getOptionValueSource(name) === "cli" && ONLY_FOR[name]?.includes(kind) === false;
  });
  if (idle !== undefined) throw new CliError(`${idle.long} does not go with ${NAMES[kind]}`, 2);
}
