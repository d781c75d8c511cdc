import { readFile } from "node:fs/promises";
import { InputError, sameBytes, sha256 } from "@dstack/core";
import type { TeepodConfig } from "../config.js";

export type Role = "viewer" | "operator";

/** A token of the configuration. */
export interface KnownToken {
  readonly name: string;
  readonly role: Role;
  readonly digest: Uint8Array;
}

const MIN_TOKEN_LENGTH = 16;

/** Reads the tokens of the configuration; only their digests stay in memory. */
export async function loadTokens(config: TeepodConfig["auth"]): Promise<KnownToken[]> {
  return Promise.all(
    config.tokens.map(async ({ name, role, token, token_file: file }) => {
      const text = token ?? (file === undefined ? "" : (await readFile(file, "utf8")).trim());
      if (text.length < MIN_TOKEN_LENGTH) {
        throw new InputError(
          `the token in ${file ?? "the configuration"} has fewer than ${MIN_TOKEN_LENGTH} characters`,
        );
      }
      return { name: name ?? role, role, digest: sha256(text) };
    }),
  );
}

/** Compares against every token, each in constant time, so that the time tells nothing about any of them. */
export function findToken(tokens: readonly KnownToken[], presented: string): KnownToken | undefined {
  const digest = sha256(presented);
  let found: KnownToken | undefined;
  for (const token of tokens) {
    if (sameBytes(token.digest, digest)) found = token;
  }
  return found;
}
