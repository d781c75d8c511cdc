import { lstat } from "node:fs/promises";
import { InputError, createFileExclusive, errorCode, hex, writeFileAtomic } from "@dstack/core";
import type { CliContext } from "./context.js";

/** Where bytes go and how they are written. */
export interface BytesOutput {
  hex?: boolean;
  output?: string;
}

/** Prints a value as JSON. */
export function printJson(context: CliContext, value: unknown): void {
  context.print(`${JSON.stringify(value, null, 2)}\n`);
}

/**
 * Writes bytes to the file of `--output`, else to standard output; with `--hex` as text.
 * @throws {InputError} raw bytes for a terminal
 */
export async function writeBytes(context: CliContext, bytes: Uint8Array, to: BytesOutput): Promise<void> {
  const content = to.hex === true ? `${hex(bytes)}\n` : bytes;
  if (to.output !== undefined) {
    await writeFileAtomic(to.output, content, { mode: 0o600 });
    return;
  }
  if (context.outputIsTerminal && typeof content !== "string") {
    throw new InputError("not printing bytes to a terminal: use --hex, --json or --output <file>");
  }
  context.print(content);
}

/**
 * Writes a new private key (0600) and the certificate that belongs to it. Neither may exist: an overwritten key is lost
 * for good.
 * @throws {InputError} one of the files exists
 */
export async function writeKeyAndCertificate(
  key: { path: string; pem: string },
  certificate: { path: string; pem: string },
): Promise<void> {
  for (const { path } of [key, certificate]) {
    if (await exists(path)) throw new InputError(`${path} exists: it is not overwritten`);
  }
  await createFileExclusive(key.path, key.pem, { mode: 0o600 });
  await createFileExclusive(certificate.path, certificate.pem, { mode: 0o644 });
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (err) {
    if (errorCode(err) === "ENOENT") return false;
    throw err;
  }
}
