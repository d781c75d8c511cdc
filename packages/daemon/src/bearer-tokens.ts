import { InputError, sameBytes, sha256 } from "@dstack/core";

const MIN_TOKEN_LENGTH = 16;

/**
 * What is kept of a token.
 * @param where for the error: the file or the configuration it is in
 * @throws {InputError} it is too short to be none that can be guessed
 */
export function tokenDigest(token: string, where: string): Uint8Array {
  if (token.length < MIN_TOKEN_LENGTH) {
    throw new InputError(`the token in ${where} has fewer than ${MIN_TOKEN_LENGTH} characters`);
  }
  return sha256(token);
}

/** The token of an `Authorization` header. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header ?? "")?.[1];
}

/** Compares against every token, each in constant time, so that the time tells nothing about any of them. */
export function findToken<T extends { readonly digest: Uint8Array }>(
  tokens: readonly T[],
  presented: string,
): T | undefined {
  const digest = sha256(presented);
  let found: T | undefined;
  for (const token of tokens) {
    if (sameBytes(token.digest, digest)) found = token;
  }
  return found;
}
