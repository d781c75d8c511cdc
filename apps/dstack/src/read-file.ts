import { InputError, errorCode, errorMessage, readRegularFile } from "@dstack/core";
import { X509Certificate } from "node:crypto";
import { resolve } from "node:path";
import { CliError } from "./output.js";

/** Much larger than anything these commands read; only keeps a wrong path from being read whole. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/**
 * Reads a file a person named.
 * @throws {InputError} one sentence that names the file
 */
export async function readFileBytes(path: string, maxBytes = MAX_FILE_BYTES): Promise<Uint8Array> {
  try {
    return await readRegularFile(resolve(path), maxBytes);
  } catch (err) {
    if (errorCode(err) === "ENOENT") throw new InputError(`there is no file ${path}`);
    if (errorCode(err) === "EACCES") throw new InputError(`you may not read ${path}`);
    throw err instanceof InputError ? err : new InputError(`cannot read ${path}: ${errorMessage(err)}`);
  }
}

/**
 * Reads a file a person named, as text.
 * @throws {InputError} one sentence that names the file
 */
export async function readTextFile(path: string): Promise<string> {
  const bytes = await readFileBytes(path);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${path} is not text in UTF-8`);
  }
}

/**
 * Reads a file of certificates that a person named.
 * @throws {InputError} as {@link readTextFile}
 * @throws {CliError} exit code 2: it holds something else
 */
export async function readCertificates(path: string): Promise<string> {
  const pem = await readTextFile(path);
  requireCertificate(path, pem);
  return pem;
}

/** @throws {CliError} the text of a file is no certificate, or one of several in it is none */
export function requireCertificate(file: string, pem: string): void {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----/gs) ?? [pem];
  try {
    for (const block of blocks) new X509Certificate(block);
  } catch (err) {
    throw new CliError(`${file} is not a certificate in PEM`, 2, { cause: err });
  }
}
