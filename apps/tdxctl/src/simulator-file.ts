import { InputError, fromHex } from "@dstack/core";
import { type LaunchMeasurements, SimulatorFileSchema } from "@dstack/tdx-attest";
import { z } from "zod";

/** Which platform to imitate, and how this VM was launched. */
export interface SimulatorFile {
  /** 32 bytes. */
  readonly seed: Uint8Array;
  readonly launch: LaunchMeasurements | undefined;
}

/**
 * Reads `simulator.json` of the host share, or a file that holds only the seed in hex.
 * @throws {InputError} neither; the seed is never in the message
 */
export function parseSimulatorFile(bytes: Uint8Array): SimulatorFile {
  const text = new TextDecoder().decode(bytes).trim();
  if (/^[0-9a-f]{64}$/i.test(text)) return { seed: fromHex(text, "seed", 32), launch: undefined };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError("the simulator's file is neither JSON nor a seed of 64 hex digits");
  }
  const parsed = SimulatorFileSchema.safeParse(value);
  if (!parsed.success) throw new InputError(`the simulator's file: ${z.prettifyError(parsed.error)}`);
  return { seed: fromHex(parsed.data.seed, "seed", 32), launch: parsed.data.launch };
}
