import { readFile } from "node:fs/promises";
import { tokenDigest } from "@dstack/daemon";
import type { KnownToken as DashboardToken } from "@dstack/dashboard";
import type { TeepodConfig } from "../config.js";

export type Role = "viewer" | "operator";

/** A token of the configuration. */
export interface KnownToken extends DashboardToken {
  readonly role: Role;
}

/** Reads the tokens of the configuration; only their digests stay in memory. */
export async function loadTokens(config: TeepodConfig["auth"]): Promise<KnownToken[]> {
  return Promise.all(
    config.tokens.map(async ({ name, role, token, token_file: file }) => {
      const text = token ?? (file === undefined ? "" : (await readFile(file, "utf8")).trim());
      return { name: name ?? role, role, digest: tokenDigest(text, file ?? "the configuration") };
    }),
  );
}
