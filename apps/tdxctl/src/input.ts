import { InputError, concatBytes, fromHex } from "@dstack/core";
import type { CliContext } from "./context.js";

/** Report data: what a quote is asked to carry. */
export const REPORT_DATA_BYTES = 64;

/**
 * All of standard input.
 * @throws {InputError} more than `maxBytes`
 */
export async function readStdin(context: CliContext, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of context.stdin) {
    parts.push(part);
    length += part.length;
    if (length > maxBytes) throw new InputError(`standard input holds more than ${maxBytes} bytes`);
  }
  return concatBytes(...parts);
}

/**
 * Report data from the option, else the 64 bytes on standard input.
 * @throws {InputError} not 64 bytes
 */
export async function readReportData(context: CliContext, option: string | undefined): Promise<Uint8Array> {
  if (option !== undefined) return fromHex(option, "--report-data", REPORT_DATA_BYTES);
  const bytes = await readStdin(context, REPORT_DATA_BYTES);
  if (bytes.length !== REPORT_DATA_BYTES) {
    throw new InputError(
      `report data on standard input must be ${REPORT_DATA_BYTES} bytes, got ${bytes.length}`,
    );
  }
  return bytes;
}
