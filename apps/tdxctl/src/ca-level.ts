import { InputError } from "@dstack/core";

/**
 * How many CAs a CA allows below it.
 * @throws {InputError}
 */
export function parseCaLevel(text: string): number {
  if (!/^[0-7]$/.test(text)) throw new InputError("--ca-level must be a number from 0 to 7");
  return Number(text);
}
